"""Adds up what a rank stores of each part: parameters, gradients, and the tensors for which optimizers keep states."""

from __future__ import annotations

from typing import NamedTuple

from planner.memory.linear.quantized import KINDS
from planner.memory.settings.dtypes import FP32, Dtypes
from planner.memory.settings.trainable import Trainable, trained_at_ends, trained_in_blocks
from planner.memory.sharding.account import Account, Trains, Unit
from planner.models import Inventory, Parameters
from planner.models.reading.parameters import ParameterTensor
from strategies import Lora, LoraVariant, Method, quantization_of


def unit(
    parameters: Parameters,
    method: Method,
    dtypes: Dtypes,
    trained: Trainable,
    ranks: int = 1,
    *,
    copied: bool = False,
    is_block: bool = False,
    account_type: type[Account] = Account,
) -> Unit:
    """Returns the parameters of a part under a fine-tuning method, divided among ranks.

    Args:
        parameters: The part's parameters in the model, before adapters are added.
        method: The fine-tuning method, which decides on adapters and quantization.
        dtypes: Bytes per element of each kind of parameter.
        trained: Which of the part's own parameters train.
        ranks: The number of ranks that divide each parameter; 1 if it is not sharded.
        copied: Whether embedding and head train as copies in addition to the frozen originals, as with PEFT.
        is_block: Whether the part is a block, not the stem or the head.
        account_type: Adds up the tensors as the backend stores them.
    """
    account = account_type(ranks, is_block)
    if copied and trained.head:
        parameters = parameters.with_head_apart()
    if isinstance(method, Lora) and method.separates_experts:
        parameters = parameters.with_separate_experts()
    _add_own(account, parameters, method, dtypes, trained, copied=copied)
    if isinstance(method, Lora):
        _add_adapters(account, parameters, method, dtypes)
    return account.unit()


def _add_own(
    account: Account, parameters: Parameters, method: Method, dtypes: Dtypes, trained: Trainable, *, copied: bool
) -> None:
    """Adds the part's parameters: quantized, trained, kept, or of layers that the forward never calls."""
    kind = KINDS.get(quantization_of(method))
    own = dtypes.of_trained() if trained.weights else dtypes
    for t in parameters.tensors:
        stored, computed = stored_itemsize(t, own, quantizes=kind is not None), _computed_itemsize(t, own)
        module_trains = (trained.embedding and t.is_table) or (trained.head and t.is_head)
        given = Trains(t.name, t.shape, stored, computed, t.is_embedding, t.layer is not None)
        if kind is not None and t.layer is not None and t.layer.quantizes:
            if len(t.shape) > 1:
                account.quantize(t.shape, kind, computed, t.name)
            else:  # a bias; what FSDP2 shards it does not cast
                account.keep(t.shape, computed if kind.casts_bias and account.ranks == 1 else stored, computed, t.name)
        elif t.layer is not None and t.layer.is_unread:
            account.skip(given, trains=trained.weights or (trained.biases and t.is_bias))
        elif trained.weights:
            account.train(given)
        elif module_trains or (trained.biases and t.is_bias):
            if copied:
                account.keep(t.shape, stored, computed, t.name)
            given = given._replace(stored=dtypes.stored_trained, computed=dtypes.trained)
            account.train(given._replace(apart=isinstance(method, Lora)))
        else:
            account.keep(t.shape, stored, computed, t.name)


def _add_adapters(account: Account, parameters: Parameters, method: Lora, dtypes: Dtypes) -> None:
    """Adds the parameters that PEFT adds to each layer that is adapted."""
    for layer in parameters.linears:
        if not all(method.adapts(name) for name in layer.target_names):
            continue
        rank = layer.adapter_rank(method.rank)
        shapes: dict[str, tuple[int, ...]] = {"lora_A": (rank, layer.in_features), "lora_B": (layer.out_features, rank)}
        if method.variant is LoraVariant.DORA:
            shapes["lora_magnitude_vector"] = (layer.out_features,)
        for name, shape in shapes.items():
            added = Trains(f"{layer.name}.{name}", shape, dtypes.stored_adapter, dtypes.adapter)
            if layer.is_unread:
                account.skip(added, trains=True)
            else:
                account.train(added._replace(apart=True))


def stored_itemsize(tensor: ParameterTensor, dtypes: Dtypes, *, quantizes: bool) -> int:
    """Returns the bytes per element of a parameter between steps, if it is not quantized itself.

    Args:
        tensor: The parameter.
        dtypes: Bytes per element of each kind of parameter.
        quantizes: Whether the method quantizes linear layers; their biases are then stored as embeddings and norms are.
    """
    if tensor.in_fp32:
        return FP32
    if tensor.layer is not None and not tensor.layer.quantizes:
        return dtypes.stored_kept
    return dtypes.stored_linear if tensor.layer is not None and not quantizes else dtypes.stored_other


def _computed_itemsize(tensor: ParameterTensor, dtypes: Dtypes) -> int:
    """Returns the bytes per element of a parameter during forward and backward."""
    if tensor.layer is not None:
        return dtypes.linear if tensor.layer.quantizes else dtypes.kept
    return dtypes.kept_in_fp32 if tensor.in_fp32 else dtypes.other


class Units(NamedTuple):
    """The units of a whole model, in order."""

    stem: Unit
    blocks: tuple[Unit, ...]
    head: Unit

    @classmethod
    def of(
        cls,
        inventory: Inventory,
        method: Method,
        dtypes: Dtypes,
        ranks: int = 1,
        account_type: type[Account] = Account,
    ) -> Units:
        """Returns the units of a model under a fine-tuning method, divided among `ranks`.

        Blocks of the same kind that train alike are the same object.
        """
        tied = inventory.architecture.tied_to is not None
        ends = trained_at_ends(method, tied=tied, task=inventory.architecture.task)
        copied = isinstance(method, Lora)
        in_blocks = trained_in_blocks(method, len(inventory.layer_kinds))
        kinds = list(zip(inventory.layer_kinds, in_blocks, strict=True))
        blocks = {
            key: unit(inventory.blocks[key[0]], method, dtypes, key[1], ranks, is_block=True, account_type=account_type)
            for key in dict.fromkeys(kinds)
        }
        head = inventory.head
        if copied and tied and ends.head:  # PEFT trains a copy; the original is the embedding's weight
            table = inventory.token_embedding._replace(is_embedding=False, is_table=False, is_head=True)
            head = head._replace(tensors=(*head.tensors, table))
        stem = unit(inventory.stem, method, dtypes, ends, ranks, copied=copied, account_type=account_type)
        if ranks > 1 and not tied and not inventory.architecture.head_is_unit:
            embedding, rest = inventory.stem.divided(inventory.architecture.embedding_name)
            root = Parameters((*rest.tensors, *head.tensors), (*rest.layers, *head.layers))
            given = method, dtypes, ends, ranks
            apart = (unit(part, *given, copied=copied, account_type=account_type) for part in (embedding, root))
            stem = stem._replace(regrouped=(next(apart), next(apart)))
        return cls(
            stem,
            tuple(blocks[key] for key in kinds),
            unit(head, method, dtypes, ends, ranks, copied=copied and not tied, account_type=account_type),
        )

    @property
    def all(self) -> tuple[Unit, ...]:
        """The units of stem, blocks, head and loss, as the parts of a step; the loss has no parameters."""
        return (self.stem, *self.blocks, self.head, Unit(0, (), 0, 0, 0, 0))

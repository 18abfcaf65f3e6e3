"""Adds up what a rank stores of each part: parameters, gradients, and the tensors for which optimizers keep states."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from planner.libraries.allocator import allocated
from planner.memory.linear.quantized import KINDS, Kind
from planner.memory.settings.dtypes import FP32, Dtypes
from planner.memory.settings.trainable import Trainable, trained_at_ends, trained_in_blocks
from planner.models import Inventory, Parameters
from planner.models.parameters import ParameterTensor
from strategies import Lora, LoraVariant, Method, quantization_of


class TrainedTensor(NamedTuple):
    """A parameter that trains; FSDP2's padding is included in its shape and elements."""

    shape: tuple[int, ...]
    """Unsharded shape."""
    num_elements: int
    itemsize: int
    """Bytes per element of the stored parameter, of its gradient and of states of its own dtype."""
    is_embedding: bool
    computed_itemsize: int
    """Bytes per element of its gradient while backward runs."""
    name: str = ""
    """Name within its part; empty where a model is known only by its replays."""
    is_hidden: bool = False
    """Whether it is a matrix in a block."""
    is_linear: bool = False
    """Whether it is the weight of a linear layer in a block."""


class Unit(NamedTuple):
    """The parameters of one part, as a rank stores them and as it computes with them."""

    stored_bytes: int
    """Bytes of one rank's share of all parameters, as stored between steps."""
    trained: tuple[TrainedTensor, ...]
    gathered_bytes: int
    """Bytes of all parameters, unsharded and in the dtype of the computation, as FSDP2 gathers them."""
    gradient_bytes: int
    """Bytes of one rank's share of the gradients, as stored between steps."""
    gathered_gradient_bytes: int
    """Bytes of the unsharded gradients in the dtype of the computation, before FSDP2 scatters them."""
    buffer_bytes: int = 0
    """The part of `stored_bytes` that is no parameter, such as scales of quantized weights: an offload leaves it."""


def padded_to(ranks: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape to which FSDP2 pads a parameter so that the ranks can divide its first dimension.

    The first dimension of a stack of experts is their number: of 16 experts on 32 ranks each rank stores one, 16 of
    them padding (torch/distributed/fsdp/_fully_shard/_fsdp_param.py, `padded_sharded_param_size`).
    """
    return (-(-shape[0] // ranks) * ranks, *shape[1:])


def unit(
    parameters: Parameters,
    method: Method,
    dtypes: Dtypes,
    trained: Trainable,
    ranks: int = 1,
    *,
    copied: bool = False,
    is_block: bool = False,
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
    """
    account = _Account(ranks, is_block)
    kind = KINDS.get(quantization_of(method))
    own = dtypes.of_trained() if trained.weights else dtypes
    if isinstance(method, Lora) and method.separates_experts:
        parameters = parameters.with_separate_experts()
    for t in parameters.tensors:
        stored, computed = stored_itemsize(t, own, quantizes=kind is not None), _computed_itemsize(t, own)
        module_trains = (trained.embedding and t.is_table) or (trained.head and t.is_head)
        role = {"is_embedding": t.is_embedding, "is_linear": t.layer is not None}
        if kind is not None and t.layer is not None and t.layer.quantizes:
            if len(t.shape) > 1:
                account.quantize(t.shape, kind, computed)
            else:  # a bias; what FSDP2 shards it does not cast
                account.keep(t.shape, computed if kind.casts_bias and ranks == 1 else stored, computed)
        elif trained.weights:
            account.train(t.name, t.shape, stored, computed, **role)
        elif module_trains or (trained.biases and t.is_bias):
            if copied:
                account.keep(t.shape, stored, computed)
            account.train(t.name, t.shape, dtypes.stored_trained, dtypes.trained, **role)
        else:
            account.keep(t.shape, stored, computed)
    if isinstance(method, Lora):
        for layer in parameters.linears:
            if all(method.adapts(name) for name in layer.target_names):
                rank = layer.adapter_rank(method.rank)
                shapes: dict[str, tuple[int, ...]] = {
                    "lora_A": (rank, layer.in_features),
                    "lora_B": (layer.out_features, rank),
                }
                if method.variant is LoraVariant.DORA:
                    shapes["lora_magnitude_vector"] = (layer.out_features,)
                for name, shape in shapes.items():
                    account.train(f"{layer.name}.{name}", shape, dtypes.stored_adapter, dtypes.adapter)
    return account.unit()


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


class _Account:
    """Adds up the bytes of a unit whose tensors are divided among `ranks` by rows."""

    def __init__(self, ranks: int, is_block: bool) -> None:
        self.ranks, self.is_block = ranks, is_block
        self.stored = self.gathered = self.gathered_gradients = self.gradients = self.buffers = 0
        self.trained: list[TrainedTensor] = []

    def keep(self, shape: tuple[int, ...], stored: int, computed: int) -> None:
        """Adds a parameter.

        Args:
            shape: Its unsharded shape, without padding.
            stored: Bytes per element between steps.
            computed: Bytes per element during forward and backward.
        """
        rows, *columns = padded_to(self.ranks, shape)
        elements = rows // self.ranks * prod(columns)
        self.stored += allocated(elements * stored)
        self.gathered += self.ranks * elements * computed

    def quantize(self, shape: tuple[int, ...], kind: Kind, computed: int) -> None:
        """Adds a quantized weight, which is gathered as it is stored.

        Args:
            shape: (rows, columns).
            kind: How it is quantized.
            computed: Bytes per element of the dtype that the layer computes in, which is that of its sharded storage.
        """
        rows, columns = shape
        if self.ranks == 1 or kind.sharded_bytes is None:
            self.stored += kind.stored_bytes(rows, columns)
            return
        share, gathered, buffers = kind.sharded_bytes(rows, columns, self.ranks, computed)
        self.stored += share + buffers
        self.gathered += gathered
        self.buffers += buffers

    def train(
        self,
        name: str,
        shape: tuple[int, ...],
        stored: int,
        computed: int,
        *,
        is_embedding: bool = False,
        is_linear: bool = False,
    ) -> None:
        """Adds a parameter that trains, and its gradient; `stored` and `computed` are bytes per element."""
        whole = padded_to(self.ranks, shape)
        elements, is_hidden = prod(whole), self.is_block and len(shape) == 2
        self.trained.append(
            TrainedTensor(whole, elements, stored, is_embedding, computed, name, is_hidden, is_hidden and is_linear)
        )
        self.keep(shape, stored, computed)
        self.gradients += allocated(elements // self.ranks * stored)
        self.gathered_gradients += elements * computed

    def unit(self) -> Unit:
        """Returns the sums."""
        gradients = self.gradients, self.gathered_gradients
        return Unit(self.stored, tuple(self.trained), self.gathered, *gradients, self.buffers)


class Units(NamedTuple):
    """The units of a whole model, in order."""

    stem: Unit
    blocks: tuple[Unit, ...]
    head: Unit

    @classmethod
    def of(cls, inventory: Inventory, method: Method, dtypes: Dtypes, ranks: int = 1) -> Units:
        """Returns the units of a model under a fine-tuning method, divided among `ranks`.

        Blocks of the same kind that train alike are the same object.
        """
        tied = inventory.architecture.tied_to is not None
        ends, copied = trained_at_ends(method, tied=tied), isinstance(method, Lora)
        in_blocks = trained_in_blocks(method, len(inventory.layer_kinds))
        kinds = list(zip(inventory.layer_kinds, in_blocks, strict=True))
        blocks = {
            key: unit(inventory.blocks[key[0]], method, dtypes, key[1], ranks, is_block=True)
            for key in dict.fromkeys(kinds)
        }
        head = inventory.head
        if copied and tied and ends.head:  # PEFT trains a copy; the original is the embedding's weight
            table = inventory.token_embedding._replace(is_embedding=False, is_table=False, is_head=True)
            head = head._replace(tensors=(*head.tensors, table))
        return cls(
            unit(inventory.stem, method, dtypes, ends, ranks, copied=copied),
            tuple(blocks[key] for key in kinds),
            unit(head, method, dtypes, ends, ranks, copied=copied and not tied),
        )

    @property
    def all(self) -> tuple[Unit, ...]:
        """The units of stem, blocks, head and loss, as the parts of a step; the loss has no parameters."""
        return (self.stem, *self.blocks, self.head, Unit(0, (), 0, 0, 0))

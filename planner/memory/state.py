"""What stays on a rank between steps: parameters, gradients and optimizer states, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import NamedTuple

from planner.memory.numerics import FP32, Numerics
from planner.memory.quantized import KINDS
from planner.memory.trained import Trained, trained_at_ends, trained_in_blocks
from planner.models import Inventory, Parameters
from planner.models.inventory import ParameterTensor
from strategies import Lora, LoraVariant, Method, Optimizer, quantization_of

ALLOCATION_BYTES = 512
"""CUDA's caching allocator rounds every request up to this (c10/cuda/CUDACachingAllocator.h, kMinBlockSize)."""


def allocated(num_bytes: int) -> int:
    return -(-num_bytes // ALLOCATION_BYTES) * ALLOCATION_BYTES


class TrainedTensor(NamedTuple):
    """A parameter that trains, or one rank's rows of it."""

    shape: tuple[int, ...]
    num_elements: int
    itemsize: int
    """Of the stored parameter, its gradient and its full-size states."""
    is_embedding: bool
    computed_itemsize: int
    """Of its gradient while backward runs."""
    whole_elements: int
    """On all ranks."""


class Unit(NamedTuple):
    """The parameters of one part, as a rank stores them and as it computes with them."""

    stored_bytes: int
    trained: tuple[TrainedTensor, ...]
    gathered_bytes: int
    """In the dtype of the computation, whole: what FSDP2 gathers."""
    gradient_bytes: int
    """Of the trained ones, as stored between steps."""
    gathered_gradient_bytes: int
    """The same in the dtype of the computation, whole, before FSDP2 scatters them."""


def rows_of_rank(shape: tuple[int, ...], ranks: int) -> tuple[int, ...]:
    """FSDP2 divides the first dimension, of experts their number, and pads it to a multiple of the ranks: of 16 experts
    on 32 ranks each rank stores one (torch/distributed/fsdp/_fully_shard/_fsdp_param.py, `padded_sharded_param_size`).
    """
    return (-(-shape[0] // ranks), *shape[1:])


def unit(
    parameters: Parameters,
    method: Method,
    numerics: Numerics,
    trained: Trained,
    ranks: int = 1,
    *,
    copied: bool = False,
) -> Unit:
    """The parameters of a part under a fine-tuning method, divided among `ranks`. `copied`: embedding and head train as
    copies."""
    account = _Account(ranks)
    kind = KINDS.get(quantization_of(method))
    own = numerics.of_trained() if trained.weights else numerics
    for t in parameters.tensors:
        stored, computed = stored_itemsize(t, own, quantizes=kind is not None), _computed_itemsize(t, own)
        module_trains = (trained.embedding and t.is_table) or (trained.head and t.is_head)
        if kind is not None and t.layer is not None and t.layer.quantizes and len(t.shape) > 1:
            account.keep(t.shape, kind.stored_bytes, computed)
        elif trained.weights:
            account.train(t.shape, stored, computed, is_embedding=t.is_embedding)
        elif module_trains or (trained.biases and t.is_bias):
            if copied:
                account.keep(t.shape, stored, computed)
            account.train(t.shape, numerics.stored_trained, numerics.trained, is_embedding=t.is_embedding)
        else:
            account.keep(t.shape, stored, computed)
    if isinstance(method, Lora):
        for layer in parameters.linears:
            if all(method.adapts(name) for name in layer.target_names):
                rank = layer.adapter_rank(method.rank)
                shapes: list[tuple[int, ...]] = [(rank, layer.in_features), (layer.out_features, rank)]
                if method.variant is LoraVariant.DORA:
                    shapes.append((layer.out_features,))
                for shape in shapes:
                    account.train(shape, numerics.stored_adapter, numerics.adapter)
    return account.unit()


def stored_itemsize(tensor: ParameterTensor, numerics: Numerics, *, quantizes: bool) -> int:
    """Between steps, of what is not quantized. `quantizes`: linear layers are, and their biases then as the rest."""
    if tensor.in_fp32:
        return FP32
    if tensor.layer is not None and not tensor.layer.quantizes:
        return numerics.stored_kept
    return numerics.stored_linear if tensor.layer is not None and not quantizes else numerics.stored_other


def _computed_itemsize(tensor: ParameterTensor, numerics: Numerics) -> int:
    """During forward and backward."""
    if tensor.layer is not None:
        return numerics.linear if tensor.layer.quantizes else numerics.kept
    return numerics.kept_in_fp32 if tensor.in_fp32 else numerics.other


class _Account:
    """Adds up a unit, of which each of `ranks` stores its rows."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.stored = self.gathered = self.gathered_gradients = 0
        self.trained: list[TrainedTensor] = []

    def keep(self, shape: tuple[int, ...], stored: int | Callable[[int, int], int], computed: int) -> None:
        """`stored`: bytes of an element, or of a matrix by its rows and columns."""
        rows = rows_of_rank(shape, self.ranks)
        self.stored += allocated(prod(rows) * stored) if isinstance(stored, int) else stored(*rows)
        self.gathered += self.ranks * prod(rows) * computed

    def train(self, shape: tuple[int, ...], stored: int, computed: int, *, is_embedding: bool = False) -> None:
        rows = rows_of_rank(shape, self.ranks)
        elements = prod(rows)
        self.trained.append(TrainedTensor(rows, elements, stored, is_embedding, computed, prod(shape)))
        self.keep(shape, stored, computed)
        self.gathered_gradients += self.ranks * elements * computed

    def unit(self) -> Unit:
        gradients = sum(allocated(t.num_elements * t.itemsize) for t in self.trained)
        return Unit(self.stored, tuple(self.trained), self.gathered, gradients, self.gathered_gradients)


class Units(NamedTuple):
    stem: Unit
    blocks: tuple[Unit, ...]
    head: Unit

    @classmethod
    def of(cls, inventory: Inventory, method: Method, numerics: Numerics, ranks: int) -> Units:
        tied = inventory.architecture.tied_to is not None
        ends, copied = trained_at_ends(method, tied=tied), isinstance(method, Lora)
        in_blocks = trained_in_blocks(method, len(inventory.layer_kinds))
        kinds = list(zip(inventory.layer_kinds, in_blocks, strict=True))
        blocks = {key: unit(inventory.blocks[key[0]], method, numerics, key[1], ranks) for key in dict.fromkeys(kinds)}
        head = inventory.head
        if copied and tied and ends.head:  # PEFT's copy; the original is the embedding
            table = inventory.token_embedding._replace(is_embedding=False, is_table=False, is_head=True)
            head = head._replace(tensors=(*head.tensors, table))
        return cls(
            unit(inventory.stem, method, numerics, ends, ranks, copied=copied),
            tuple(blocks[key] for key in kinds),
            unit(head, method, numerics, ends, ranks, copied=copied and not tied),
        )

    @property
    def all(self) -> tuple[Unit, ...]:
        """Stem, blocks, head and loss, as the parts of a step; the loss has no parameters."""
        return (self.stem, *self.blocks, self.head, Unit(0, (), 0, 0, 0))


BNB_BLOCK = 256
"""Elements per scale of bitsandbytes' blockwise 8-bit states (bitsandbytes/optim/optimizer.py, `init_state`)."""
BNB_SMALLEST = 4096
"""Tensors with fewer elements keep 32-bit states (`min_8bit_size`)."""
BNB_TABLE = 256
"""Elements in fp32 that say what a byte of a state means (bitsandbytes/functional.py, `create_dynamic_map`)."""


def state_bytes(optimizer: Optimizer, tensor: TrainedTensor) -> int:
    """Bytes of an optimizer's states of one parameter.

    8-bit: a byte per element and an fp32 scale per block of 256; small tensors keep fp32 states, and so do embeddings,
    for which Trainer registers 32-bit states (trainer.py, `register_module_override`).
    Adafactor: fp32 means over rows and over columns of each matrix, a whole fp32 state for a vector.
    """
    facts, elements = optimizer.facts, tensor.num_elements
    size = facts.full_states * allocated(elements * tensor.itemsize)
    if facts.quantized_states:
        if not _in_8_bits(tensor):
            size += facts.quantized_states * allocated(elements * FP32)
        else:
            scales = allocated(-(-elements // BNB_BLOCK) * FP32)
            size += facts.quantized_states * (allocated(elements) + scales)
    if facts.factored:
        *matrices, rows, columns = (1, *tensor.shape, 0) if len(tensor.shape) == 1 else (1, *tensor.shape)
        rows, columns = prod(matrices) * rows, prod(matrices) * columns
        size += allocated(rows * FP32) + allocated(columns * FP32)
    return size


def _in_8_bits(tensor: TrainedTensor) -> bool:
    return tensor.whole_elements >= BNB_SMALLEST and not tensor.is_embedding


def table_bytes(optimizer: Optimizer, parts: Iterable[Unit]) -> int:
    """Bytes of the tables of 8-bit states, which all tensors share: one for each kind of state, whole on every rank."""
    quantizes = any(_in_8_bits(t) for part in parts for t in part.trained)
    return quantizes * optimizer.facts.quantized_states * allocated(BNB_TABLE * FP32)


def step_counts(optimizer: Optimizer, part: Unit) -> int:
    """Bytes of the step counters of a part's tensors, whole on every rank: one fp32 scalar each."""
    return len(part.trained) * ALLOCATION_BYTES if optimizer.facts.counts_on_gpu else 0


def step_temporaries(optimizer: Optimizer, groups: Sequence[tuple[Sequence[TrainedTensor], int]]) -> int:
    """Bytes that the optimizer step allocates at its peak and frees again. `groups`: tensors and how often they occur.

    foreach: a copy of one state of every tensor at once. Adafactor, tensor by tensor: the squared gradient beside the
    update, or the update beside its negative, in fp32; below fp32, fp32 copies of gradient and parameter as well
    (transformers/optimization.py, `Adafactor.step`).
    """
    facts, size = optimizer.facts, 0
    if facts.foreach_copies:
        copies = (n * sum(allocated(t.num_elements * t.itemsize) for t in tensors) for tensors, n in groups)
        size += facts.foreach_copies * sum(copies)
    if facts.factored:
        single = (t.num_elements * FP32 * (2 if t.itemsize == FP32 else 4) for tensors, _ in groups for t in tensors)
        size += max(single, default=0)
    return size

"""What stays on a rank between steps: parameters, gradients and optimizer states, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from planner.memory.numerics import FP32, NF4_TABLES, Numerics, quantized_bytes
from planner.models import Inventory, Parameters
from strategies import Full, Lora, Method, Optimizer, Quantization

ALLOCATION_BYTES = 512
"""CUDA's caching allocator rounds every request up to this (c10/cuda/CUDACachingAllocator.h, kMinBlockSize)."""


def allocated(num_bytes: int) -> int:
    return -(-num_bytes // ALLOCATION_BYTES) * ALLOCATION_BYTES


class TrainedTensor(NamedTuple):
    shape: tuple[int, ...]
    num_elements: int
    itemsize: int
    """Of the stored parameter, its gradient and its full-size states."""
    is_embedding: bool
    computed_itemsize: int
    """Of its gradient while backward runs."""


class Unit(NamedTuple):
    """The parameters of one part, as a rank stores them and as it computes with them."""

    stored_bytes: int
    trained: tuple[TrainedTensor, ...]
    gathered_bytes: int
    """In the dtype of the computation, whole: what FSDP2 gathers."""
    gradient_bytes: int
    """Of the trained ones, as stored between steps."""
    gathered_gradient_bytes: int
    """The same in the dtype of the computation, before FSDP2 scatters them."""


def unit(parameters: Parameters, method: Method, numerics: Numerics) -> Unit:
    """The parameters of a part under a fine-tuning method."""
    stored = gathered = gathered_gradients = 0
    quantizes = isinstance(method, Lora) and method.quantization is not Quantization.NONE
    trained: list[TrainedTensor] = []
    for t in parameters.tensors:
        quantized = quantizes and t.layer is not None and t.layer.quantizes and len(t.shape) > 1
        kept = numerics.stored_linear if t.layer is not None and not quantizes else numerics.stored_other
        computed = numerics.linear if t.layer is not None else numerics.other
        if t.layer is not None and not t.layer.quantizes:
            kept, computed = numerics.stored_kept, numerics.kept
        if isinstance(method, Lora) and quantized:
            stored += quantized_bytes(t.num_elements, method.quantization) + NF4_TABLES[method.quantization]
        else:
            stored += allocated(t.num_elements * kept)
        gathered += t.num_elements * computed
        if isinstance(method, Full):
            trained.append(TrainedTensor(t.shape, t.num_elements, kept, t.is_embedding, computed))
            gathered_gradients += t.num_elements * computed
    if isinstance(method, Lora):
        for layer in parameters.linears:
            if all(method.adapts(name) for name in layer.target_names):
                rank = layer.adapter_rank(method.rank)
                for shape in ((rank, layer.in_features), (layer.out_features, rank)):
                    elements = shape[0] * shape[1]
                    trained.append(TrainedTensor(shape, elements, numerics.stored_adapter, False, numerics.adapter))
                    stored += allocated(elements * numerics.stored_adapter)
                    gathered += elements * numerics.adapter
                    gathered_gradients += elements * numerics.adapter
    gradients = sum(allocated(t.num_elements * t.itemsize) for t in trained)
    return Unit(stored, tuple(trained), gathered, gradients, gathered_gradients)


class Units(NamedTuple):
    stem: Unit
    blocks: tuple[Unit, ...]
    head: Unit

    @classmethod
    def of(cls, inventory: Inventory, method: Method, numerics: Numerics) -> Units:
        blocks = {kind: unit(block, method, numerics) for kind, block in inventory.blocks.items()}
        return cls(
            unit(inventory.stem, method, numerics),
            tuple(blocks[kind] for kind in inventory.layer_kinds),
            unit(inventory.head, method, numerics),
        )

    @property
    def all(self) -> tuple[Unit, ...]:
        """Stem, blocks, head and loss, as the parts of a step; the loss has no parameters."""
        return (self.stem, *self.blocks, self.head, Unit(0, (), 0, 0, 0))


BNB_BLOCK = 256
"""Elements per scale of bitsandbytes' blockwise 8-bit states (bitsandbytes/optim/optimizer.py, `init_state`)."""
BNB_SMALLEST = 4096
"""Tensors with fewer elements keep 32-bit states (`min_8bit_size`)."""


def state_bytes(optimizer: Optimizer, tensor: TrainedTensor) -> int:
    """Bytes of an optimizer's states of one parameter.

    8-bit: a byte per element and an fp32 scale per block of 256; small tensors keep fp32 states, and so do embeddings,
    for which Trainer registers 32-bit states (trainer.py, `register_module_override`).
    Adafactor: fp32 means over rows and over columns of a matrix, a whole fp32 state for a vector.
    """
    facts, elements = optimizer.facts, tensor.num_elements
    size = facts.full_states * allocated(elements * tensor.itemsize)
    if facts.quantized_states:
        if elements < BNB_SMALLEST or tensor.is_embedding:
            size += facts.quantized_states * allocated(elements * FP32)
        else:
            scales = allocated(-(-elements // BNB_BLOCK) * FP32)
            size += facts.quantized_states * (allocated(elements) + scales)
    if facts.factored:
        rows = elements if len(tensor.shape) == 1 else tensor.shape[0]
        columns = tensor.shape[1] if len(tensor.shape) > 1 else 0
        size += allocated(rows * FP32) + allocated(columns * FP32)
    return size


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

"""What stays on a rank between steps: parameters, gradients and optimizer states, part by part."""

from __future__ import annotations

from typing import NamedTuple

from planner.memory.numerics import NF4_TABLES, Numerics, quantized_bytes
from planner.models import Inventory, Parameters
from strategies import Full, Lora, Method, Quantization

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
    name: str = ""
    """Within its part; empty where a model is known by its replays."""
    is_hidden: bool = False
    """A matrix in a block."""
    is_linear: bool = False
    """The weight of a linear layer in a block."""


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


def unit(parameters: Parameters, method: Method, numerics: Numerics, *, is_block: bool = False) -> Unit:
    """The parameters of a part under a fine-tuning method."""
    stored = gathered = gathered_gradients = 0
    quantizes = isinstance(method, Lora) and method.quantization is not Quantization.NONE
    trained: list[TrainedTensor] = []
    for t in parameters.tensors:
        quantized = quantizes and t.layer is not None and len(t.shape) > 1
        kept = numerics.stored_linear if t.layer is not None and not quantizes else numerics.stored_other
        computed = numerics.linear if t.layer is not None else numerics.other
        if isinstance(method, Lora) and quantized:
            stored += quantized_bytes(t.num_elements, method.quantization) + NF4_TABLES[method.quantization]
        else:
            stored += allocated(t.num_elements * kept)
        gathered += t.num_elements * computed
        if isinstance(method, Full):
            hidden = is_block and len(t.shape) == 2
            trained.append(
                TrainedTensor(
                    t.shape,
                    t.num_elements,
                    kept,
                    t.is_embedding,
                    computed,
                    t.name,
                    hidden,
                    hidden and t.layer is not None,
                )
            )
            gathered_gradients += t.num_elements * computed
    if isinstance(method, Lora):
        for layer in parameters.linears:
            if all(method.adapts(name) for name in layer.target_names):
                rank = layer.adapter_rank(method.rank)
                for name, shape in (("A", (rank, layer.in_features)), ("B", (layer.out_features, rank))):
                    elements = shape[0] * shape[1]
                    name = f"{layer.name}.lora_{name}"
                    trained.append(
                        TrainedTensor(shape, elements, numerics.stored_adapter, False, numerics.adapter, name, is_block)
                    )
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
        blocks = {kind: unit(block, method, numerics, is_block=True) for kind, block in inventory.blocks.items()}
        return cls(
            unit(inventory.stem, method, numerics),
            tuple(blocks[kind] for kind in inventory.layer_kinds),
            unit(inventory.head, method, numerics),
        )

    @property
    def all(self) -> tuple[Unit, ...]:
        """Stem, blocks, head and loss, as the parts of a step; the loss has no parameters."""
        return (self.stem, *self.blocks, self.head, Unit(0, (), 0, 0, 0))

"""Registers the linear layers with a quantized weight, one entry for each kind of quantization."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from planner.memory.linear import gptqmodel, int8, nf4
from planner.memory.linear.plain import Base, Layer
from strategies import Quantization


class Kind(NamedTuple):
    """Describes one kind of quantized linear layer.

    Attributes:
        layer: The layer without an adapter.
        base: How PEFT treats the layer under an adapter.
        stored_bytes: Returns the stored bytes of a weight of (rows, columns).
        sharded_bytes: Returns the bytes of one rank's share of a weight of (rows, columns), of the gathered weight, and
            of its scales, given the number of ranks and the bytes per element; None if FSDP2 cannot shard it.
        flat_bytes: Returns the bytes of each packed tensor of a weight of (rows, columns) that FSDP1 joins to a flat
            parameter, and of what stays a buffer; None if it can join none.
        casts_bias: Whether the first forward casts a bias for good to the dtype that the layer computes in
            (bitsandbytes/nn/modules.py, `Linear4bit.forward`).
    """

    layer: Layer
    base: Base
    stored_bytes: Callable[[int, int], int]
    sharded_bytes: Callable[[int, int, int, int], tuple[int, int, int]] | None = None
    flat_bytes: Callable[[int, int], tuple[Sequence[int], int]] | None = None
    casts_bias: bool = False


def _nf4(*, double: bool) -> Kind:
    """Describes NF4 with or without double quantization."""
    return Kind(
        partial(nf4.layer, double=double),
        nf4.BASE,
        partial(nf4.stored_bytes, double=double),
        partial(nf4.sharded_bytes, double=double),
        partial(nf4.flat_bytes, double=double),
        casts_bias=True,
    )


KINDS: Mapping[Quantization, Kind] = {
    Quantization.NF4: _nf4(double=False),
    Quantization.NF4_DOUBLE: _nf4(double=True),
    Quantization.INT8: Kind(int8.layer, int8.BASE, int8.stored_bytes),
    Quantization.GPTQ: Kind(gptqmodel.gptq_layer, gptqmodel.GPTQ_BASE, gptqmodel.gptq_bytes),
    Quantization.GPTQ_TRITON: Kind(
        gptqmodel.gptq_triton_layer, gptqmodel.GPTQ_BASE, gptqmodel.gptq_bytes, flat_bytes=gptqmodel.gptq_flat_bytes
    ),
    Quantization.AWQ: Kind(gptqmodel.awq_layer, gptqmodel.AWQ_BASE, gptqmodel.awq_bytes),
}
"""The kind of linear layer of each quantization; `Quantization.NONE` has no entry."""

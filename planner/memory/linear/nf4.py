"""Implements the product with an NF4 weight, as bitsandbytes computes it, and counts the weight's bytes."""

from __future__ import annotations

from planner.libraries.allocator import allocated
from planner.libraries.bitsandbytes import BLOCK, SCALE_BLOCK
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.linear.plain import Base, Weight
from planner.memory.settings.dtypes import FP32
from planner.memory.settings.parameters import Parameters
from strategies import Operation

BASE = Base(copies=True, casts_under_autocast=False)
"""How PEFT treats the layer under an adapter (peft/tuners/lora/bnb.py, Linear4bit)."""

TABLE_BYTES, DOUBLE_TABLE_BYTES = 512, 512 + 512 + 1024
"""Bytes of the tables that each NF4 tensor has, in the allocator's blocks: NF4's 16 values in fp32; under double
quantization also the mean of the scales and the 256 values of a scale (bitsandbytes/functional.py, `get_4bit_type`,
`quantize_blockwise`)."""

LAUNCHES = 3
"""Launches' worth of Python that `MatMul4Bit` runs in a pass beside what it launches: on a CPU, with weights of
64 x 64, its forward takes 94 us longer than a plain layer's (118 with quantized scales) and its backward 88 (111). A
launch is 27 us, and the dequantized weight counts as one, the scales as another (bitsandbytes 0.50.2, torch 2.13)."""


def stored_bytes(rows: int, columns: int, *, double: bool) -> int:
    """Returns the stored bytes of an NF4 weight: packed 4-bit values, absmax, and their tables.

    The absmax of absmax has one value for 16,384 weights: that of a small layer is far smaller than a block of the
    allocator, which a mixture of many experts has as often.

    Args:
        rows: Output features.
        columns: Input features.
        double: Whether absmax is quantized as well, which adds the absmax of absmax.
    """
    elements = rows * columns
    scales, packed = -(-elements // BLOCK), -(-elements // 2)
    if double:
        return packed + scales + allocated(-(-scales // SCALE_BLOCK) * FP32) + DOUBLE_TABLE_BYTES
    return packed + scales * FP32 + TABLE_BYTES


def sharded_bytes(rows: int, columns: int, ranks: int, itemsize: int, *, double: bool) -> tuple[int, int, int]:
    """Returns the bytes of an NF4 weight that FSDP2 shards: one rank's share, what is gathered, and what stays whole.

    The packed values are a column of elements of a floating-point dtype (`bnb_4bit_quant_storage`), whose rows are
    divided among the ranks. Scales and tables are no parameters: every rank keeps all of them.

    Args:
        rows: Output features.
        columns: Input features.
        ranks: Number of ranks that divide the weight.
        itemsize: Bytes per element of the storage's dtype.
        double: Whether absmax is quantized as well.
    """
    packed = -(-rows * columns // 2)
    share = -(-packed // (itemsize * ranks)) * itemsize
    return allocated(share), share * ranks, stored_bytes(rows, columns, double=double) - packed


def flat_bytes(rows: int, columns: int, *, double: bool) -> tuple[tuple[int], int]:
    """Returns the bytes of the packed values, which FSDP1 joins to a flat parameter, and of what stays whole.

    Args:
        rows: Output features.
        columns: Input features.
        double: Whether absmax is quantized as well.
    """
    packed = -(-rows * columns // 2)
    return (packed,), stored_bytes(rows, columns, double=double) - packed


def layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool, *, double: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a linear layer with an NF4 weight, as bitsandbytes' `Linear4bit` does in its own compute dtype.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.
        double: Whether the scales are quantized as well.

    Returns:
        The output in the dtype of `x`, a function that dequantizes the weight, and the bias or None.
    """
    compute, given = f.dtypes.linear, x.itemsize
    columns, elements = x.width, x.width * out_features
    bias = f.parameter(f"{name}.bias", out_features, compute, trains=False) if has_bias else None
    with f.tape.module(name):
        x = f.to(x, compute, f"{name} input")  # the variable of `Linear4bit.forward`, until it returns
        out = f.to(_matmul(f, x, bias, out_features, double, name), given, f"{name} output")

    def weight() -> Tensor:
        return Tensor(_dequantize(f, elements, compute, double), elements, 0, columns, compute, None)

    return out, weight, bias


def _matmul(f: Ops, x: Tensor, bias: Tensor | None, out_features: int, double: bool, name: str) -> Tensor:
    """Returns the product of bitsandbytes' `MatMul4Bit`.

    The weight is dequantized in forward and again in backward; no tensor is saved.
    """
    compute, elements, size = x.itemsize, x.width * out_features, x.per_sample * x.itemsize
    weight = _dequantize(f, elements, compute, double)
    rows = x.per_sample // x.width
    flops, width = 2 * x.per_sample * out_features, out_features
    operation = Operation.MM if bias is None else Operation.ADDMM
    out = f.product(rows * width, width, compute, f"{name} output", x, flops=flops, operation=operation)
    del weight
    if x.variable is not None and out.variable is not None:
        variable = x.variable

        def backward(gradient: Storage) -> None:
            weight = _dequantize(f, elements, compute, double)
            f.multiply(compute, flops)
            made = f.tape.storage(0, size)
            del weight
            f.tape.accumulate(variable, made)

        f.tape.record(out.variable, backward)
    return out


def _dequantize(f: Ops, elements: int, itemsize: int, double: bool) -> Storage:
    """Returns the storage of a whole weight.

    Double quantization restores the fp32 scales first (bitsandbytes functional.py, `dequantize_4bit`; in forward
    backends/cuda/ops.py, `_dequant_linear_fallback`, whose sum with the offset is a second, smaller tensor).
    """
    f.tape.cost.launched += LAUNCHES
    scales = f.tape.storage(-(-elements // BLOCK) * FP32, 0) if double else None
    f.tape.cost.fixed_bytes += elements * itemsize + -(-elements // 2)  # written, and read packed
    weight = f.tape.storage(elements * itemsize, 0)
    del scales
    return weight

"""Implements the product with an LLM.int8() weight, as bitsandbytes computes it, and counts the weight's bytes."""

from __future__ import annotations

from planner.libraries.allocator import allocated
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.linear.plain import Base, Weight
from planner.memory.settings.dtypes import FP32, HALF
from planner.memory.settings.parameters import Parameters

BASE = Base(casts_under_autocast=False)
"""How PEFT treats the layer under an adapter (peft/tuners/lora/bnb.py, Linear8bitLt)."""
INT8, INT32, BOOL = 1, 4, 1


def stored_bytes(rows: int, columns: int) -> int:
    """Returns the stored bytes of a weight, with an fp32 scale for each row.

    Source: bitsandbytes/nn/modules.py, Int8Params.

    Args:
        rows: Output features.
        columns: Input features.
    """
    return rows * columns * INT8 + allocated(rows * FP32)


def layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a linear layer with an int8 weight, as bitsandbytes' `Linear8bitLt` does.

    The threshold for outliers is transformers' 6. Columns with outliers, a handful whose number no shape tells, are
    left out.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output in the dtype of `x`, a function that dequantizes the weight to fp32, and the bias or None.
    """
    columns, elements = x.width, x.width * out_features
    bias = f.parameter(f"{name}.bias", out_features, x.itemsize, trains=False) if has_bias else None

    def weight() -> Tensor:
        """Dequantizes the weight (`int8_vectorwise_dequant`): times the scales in fp32, then times a number."""
        scaled = f.tape.storage(elements * FP32, 0)
        whole = f.tape.storage(elements * FP32, 0)
        f.tape.cost.fixed_bytes += elements * (INT8 + 3 * FP32)
        del scaled
        return Tensor(whole, elements, 0, columns, FP32, None)

    return _matmul(f, x, out_features, name), weight, bias


def _matmul(f: Parameters, x: Tensor, out_features: int, name: str) -> Tensor:
    """Returns the product of `MatMul8bitLt`.

    Its input is an attribute of the autograd node, so it lives as long as the graph, and no checkpoint drops it.
    """
    quantized = _quantize(f, x)
    rows = x.per_sample // x.width
    products = f.tape.storage(0, rows * out_features * INT32)
    flops, size, elements, itemsize = 2 * x.per_sample * out_features, x.per_sample * x.itemsize, x.width, x.itemsize
    elements *= out_features
    out = f.product(rows * out_features, out_features, HALF, f"{name} output", x, flops=flops)
    if not _is_fp16(f, x):  # the kernel writes fp16
        whole = f.product(rows * out_features, out_features, x.itemsize, f"{name} output", x, flops=0)
        whole.variable, out = out.variable, whole
        del whole
    del products, quantized
    if x.variable is not None and out.variable is not None:
        variable = x.variable
        f.tape.keep(x)

        def backward(gradient: Storage) -> None:
            weight = f.tape.storage(elements * itemsize, 0)
            f.tape.cost.fixed_bytes += elements * (INT8 + 3 * itemsize)
            f.multiply(itemsize, flops)
            made = f.tape.storage(0, size)
            del weight
            f.tape.accumulate(variable, made)

        f.tape.record(out.variable, backward)
    return out


def _quantize(f: Parameters, x: Tensor) -> list[Storage]:
    """Returns the storages of `x` in int8 and of its fp32 scales, one per row (`int8_vectorwise_quant`).

    The input is cast to fp16 first, and its absolute values are compared with the threshold for outliers.
    """
    tape, rows = f.tape, x.per_sample // x.width
    half = None if _is_fp16(f, x) else tape.storage(0, x.per_sample * HALF)
    quantized = [tape.storage(0, rows * FP32), tape.storage(0, x.per_sample * INT8)]
    absolute = tape.storage(0, x.per_sample * HALF)
    outliers = tape.storage(0, x.per_sample * BOOL)
    tape.cost.bytes_per_sample += x.per_sample * (x.itemsize + 4 * HALF + 2 * INT8)
    del absolute, outliers, half
    return quantized


def _is_fp16(f: Parameters, x: Tensor) -> bool:
    """Returns whether `x` is in fp16."""
    return x.itemsize == HALF and f.dtypes.half_is_fp16

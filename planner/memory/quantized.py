"""The product with an NF4 weight, as bitsandbytes computes it."""

from __future__ import annotations

from planner.memory.numerics import NF4_BLOCK
from planner.memory.ops import FP32, Ops
from planner.memory.tape import Storage, Tensor
from strategies import Operation, Quantization


def matmul_4bit(f: Ops, x: Tensor, out_features: int, quantization: Quantization, name: str) -> Tensor:
    """bitsandbytes `MatMul4Bit`: the weight is dequantized in forward and again in backward; nothing is saved."""
    compute, elements, size = x.itemsize, x.width * out_features, x.per_sample * x.itemsize
    _dequantize(f, elements, compute, quantization)
    rows = x.per_sample // x.width
    flops = 2 * x.per_sample * out_features
    out = f.product(
        rows * out_features, out_features, compute, f"{name} output", x, flops=flops, operation=Operation.MM
    )
    if x.variable is not None and out.variable is not None:
        variable = x.variable

        def backward(gradient: Storage) -> None:
            weight = _dequantize(f, elements, compute, quantization)
            f.multiply(compute, flops)
            made = f.tape.storage(0, size)
            del weight
            f.tape.accumulate(variable, made)

        f.tape.record(out.variable, backward)
    return out


def _dequantize(f: Ops, elements: int, itemsize: int, quantization: Quantization) -> Storage:
    """Double quantization restores the fp32 scales first, once by blocks and once with the offset added
    (bitsandbytes functional.py, `dequantize_4bit`)."""
    scales = None
    if quantization is Quantization.NF4_DOUBLE:
        scales = [f.tape.storage(-(-elements // NF4_BLOCK) * FP32, 0) for _ in range(2)]
    f.tape.cost.fixed_bytes += elements * itemsize
    weight = f.tape.storage(elements * itemsize, 0)
    del scales
    return weight

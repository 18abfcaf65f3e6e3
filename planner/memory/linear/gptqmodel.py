"""Products with 4-bit weights of GPTQ and AWQ, by the kernels of GPTQModel that train, and the weights' bytes."""

from __future__ import annotations

from planner.libraries.gptqmodel import GROUP
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.linear.lora import Base, Weight
from planner.memory.settings.dtypes import HALF
from planner.memory.settings.parameters import Parameters
from strategies import Operation

GPTQ_BASE = Base()
"""peft/tuners/lora/gptq.py."""
AWQ_BASE = Base(casts_under_autocast=False)
"""peft/tuners/lora/awq.py."""

INT32 = 4
BLOCK_BYTES = 512
"""The caching allocator's."""


def _buffer(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def awq_bytes(rows: int, columns: int) -> int:
    """`qweight`, `qzeros` and `scales` (gptqmodel/nn_modules/qlinear, AWQuantLinear)."""
    groups = -(-columns // GROUP)
    return _buffer(rows * columns // 2) + _buffer(groups * rows // 2) + _buffer(groups * rows * HALF)


def gptq_bytes(rows: int, columns: int) -> int:
    """The same and `g_idx`, the group of each input (BaseQuantLinear)."""
    return awq_bytes(rows, columns) + _buffer(columns * INT32)


def gptq_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """`TorchQuantLinear`, which `TritonV2QuantLinear` is while it trains: `dequantize_weight` is compiled to one
    kernel, and autograd keeps its result for the gradient of x. The bias is added in place."""
    columns, elements = x.width, x.width * out_features
    bias = f.parameter(f"{name}.bias", out_features, f.dtypes.linear, trains=False) if has_bias else None

    def weight() -> Tensor:
        return Tensor(_dequantize(f, elements), elements, 0, columns, HALF, None)

    given = x.itemsize
    out = Ops.linear(f, x, f.to(weight(), x.itemsize, f"{name} weight"), None, out_features, name)
    return f.to(out, given, f"{name} output"), weight, bias


def awq_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """`AwqGEMMTritonLinear`: in fp16, dequantized in forward, for more than 128 rows, and again in backward; nothing of
    x is saved."""
    given, columns, elements = x.itemsize, x.width, x.width * out_features
    x = _cast(f, x, f"{name} input")
    size = x.per_sample * HALF
    _dequantize(f, elements)
    rows = x.per_sample // x.width
    flops, width = 2 * x.per_sample * out_features, out_features
    out = f.product(rows * width, width, HALF, f"{name} output", x, flops=flops, operation=Operation.MM)
    if x.variable is not None and out.variable is not None:
        variable = x.variable

        def backward(gradient: Storage) -> None:
            whole = _dequantize(f, elements)
            f.multiply(HALF, flops)
            made = f.tape.storage(0, size)
            del whole
            f.tape.accumulate(variable, made)

        f.tape.record(out.variable, backward)
    bias = f.parameter(f"{name}.bias", out_features, HALF, trains=False) if has_bias else None
    if bias is not None:
        out = f.add(out, bias, f"{name} bias")

    def weight() -> Tensor:
        return Tensor(_dequantize(f, elements), elements, 0, columns, HALF, None)

    return _back(f, out, given, f"{name} output"), weight, bias


def _cast(f: Parameters, x: Tensor, name: str) -> Tensor:
    """To fp16: a copy of bf16 as well."""
    if x.itemsize == HALF and not f.dtypes.half_is_fp16:
        return f.unary(x, name)
    return f.to(x, HALF, name)


def _back(f: Parameters, out: Tensor, itemsize: int, name: str) -> Tensor:
    if itemsize == HALF and not f.dtypes.half_is_fp16:
        return f.unary(out, name)
    return f.to(out, itemsize, name)


def _dequantize(f: Parameters, elements: int) -> Storage:
    f.tape.cost.fixed_bytes += elements * HALF
    return f.tape.storage(elements * HALF, 0)

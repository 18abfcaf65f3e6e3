"""Implements products with 4-bit weights of GPTQ and AWQ, and counts the weights' bytes.

The kernels are those of GPTQModel and AutoGPTQ that can train.
"""

from __future__ import annotations

from planner.libraries.allocator import allocated
from planner.libraries.gptqmodel import GROUP
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.linear.plain import Base, Weight
from planner.memory.settings.dtypes import HALF
from planner.memory.settings.parameters import Parameters
from strategies import Operation

GPTQ_BASE = Base()
"""How PEFT treats a GPTQ layer under an adapter (peft/tuners/lora/gptq.py)."""
AWQ_BASE = Base(casts_under_autocast=False)
"""How PEFT treats an AWQ layer under an adapter (peft/tuners/lora/awq.py)."""

INT32 = 4
TORCH_MOVES = 59
"""Half bytes that memory could move while torch's operations dequantize a weight: the shift to int32, the cast to int8,
the mask, less the zero point, times the scale. They move 16.5 bytes, and take longer than these: shift, zero point and
scale are broadcast, for which each element's three offsets are divided out of its index, 45 integer instructions with
the loads (ATen/cuda/detail/OffsetCalculator.cuh); int32 and int8 are cast one by one, 15 to 20 more each. Of these 175
instructions an A100 does 9.7e12 a second (108 x 64 at 1.41 GHz): 18 ps, in which 29.5 bytes are moved at 1.65 TB/s.
Source: auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py, `forward`."""
TRITON_MOVES = 5
"""The same in one kernel, which reads half a byte and writes two (triton_utils/dequant.py, `dequant_kernel_248`)."""


def awq_bytes(rows: int, columns: int) -> int:
    """Returns the stored bytes of an AWQ weight: `qweight`, `qzeros` and `scales`.

    Source: gptqmodel/nn_modules/qlinear, AWQuantLinear.

    Args:
        rows: Output features.
        columns: Input features.
    """
    groups = -(-columns // GROUP)
    return allocated(rows * columns // 2) + allocated(groups * rows // 2) + allocated(groups * rows * HALF)


def gptq_bytes(rows: int, columns: int) -> int:
    """Returns the stored bytes of a GPTQ weight: those of an AWQ weight, and `g_idx`, the group of each input.

    Source: gptqmodel/nn_modules/qlinear, BaseQuantLinear.

    Args:
        rows: Output features.
        columns: Input features.
    """
    return awq_bytes(rows, columns) + allocated(columns * INT32)


def gptq_flat_bytes(rows: int, columns: int) -> tuple[tuple[int, int], int]:
    """Returns the bytes of `qweight` and `qzeros`, which FSDP1 joins to a flat parameter, and of the buffers.

    Source: fms_acceleration_peft/autogptq_utils.py, `PATCH_FOR_FSDP_TRITON_V2`.

    Args:
        rows: Output features.
        columns: Input features.
    """
    groups = -(-columns // GROUP)
    return (rows * columns // 2, groups * rows // 2), allocated(groups * rows * HALF) + allocated(columns * INT32)


def gptq_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a linear layer with a GPTQ weight, as GPTQModel's `TorchQuantLinear` does.

    `TritonV2QuantLinear` does the same while it trains. `dequantize_weight` is compiled to one kernel, and autograd
    keeps its result for the gradient of `x`. The bias is added in place and makes no tensor.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output in the dtype of `x`, a function that dequantizes the weight, and the bias or None.
    """
    bias = f.parameter(f"{name}.bias", out_features, f.dtypes.linear, trains=False) if has_bias else None
    given, weight = x.itemsize, _whole(f, x.width, out_features, TORCH_MOVES)
    out = Ops.linear(f, x, f.to(weight(), x.itemsize, f"{name} weight"), None, out_features, name)
    return f.to(out, given, f"{name} output"), weight, bias


def awq_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a linear layer with an AWQ weight, as GPTQModel's `AwqGEMMTritonLinear` does in fp16.

    The weight is dequantized in forward, as the kernel does for more than 128 rows, and again in backward. No tensor is
    saved.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output in the dtype of `x`, a function that dequantizes the weight, and the bias or None.
    """
    given, weight = x.itemsize, _whole(f, x.width, out_features, TRITON_MOVES)
    x = _cast(f, x, f"{name} input")
    out = _product(f, x, out_features, name, TRITON_MOVES)
    out, bias = _plus_bias(f, name, out, out_features, has_bias)
    return _back(f, out, given, f"{name} output"), weight, bias


def gptq_triton_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a linear layer with a GPTQ weight, as AutoGPTQ's `QuantLinear` of qlinear_tritonv2.py does in fp16.

    The weight is dequantized in forward and again in backward, and no tensor is saved. Autocast casts the input for the
    product alone; the output stays in fp16.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output in fp16, a function that dequantizes the weight, and the bias or None.
    """
    weight = _whole(f, x.width, out_features, TRITON_MOVES)
    half = _cast(f, x, f"{name} input")
    out = _product(f, half, out_features, name, TRITON_MOVES)
    del half
    out, bias = _plus_bias(f, name, out, out_features, has_bias)
    return out, weight, bias


def _plus_bias(
    f: Parameters, name: str, out: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Tensor | None]:
    """Adds the bias in fp16, if there is one, and returns it as well."""
    if not has_bias:
        return out, None
    bias = f.parameter(f"{name}.bias", out_features, HALF, trains=False)
    return f.add(out, bias, f"{name} bias"), bias


def _whole(f: Parameters, columns: int, rows: int, moves: int) -> Weight:
    """Returns the function that dequantizes a whole weight."""

    def weight() -> Tensor:
        return Tensor(_dequantize(f, rows * columns, moves), rows * columns, 0, columns, HALF, None)

    return weight


def _product(f: Parameters, x: Tensor, out_features: int, name: str, moves: int) -> Tensor:
    """Returns `x @ weight` in fp16, with a weight that is dequantized in forward and again in backward."""
    elements, size, rows = x.width * out_features, x.per_sample * HALF, x.per_sample // x.width
    whole = _dequantize(f, elements, moves)
    flops, width = 2 * x.per_sample * out_features, out_features
    out = f.product(rows * width, width, HALF, f"{name} output", x, flops=flops, operation=Operation.MM)
    del whole
    if x.variable is not None and out.variable is not None:
        variable = x.variable

        def backward(gradient: Storage) -> None:
            whole = _dequantize(f, elements, moves)
            f.multiply(HALF, flops)
            made = f.tape.storage(0, size)
            del whole
            f.tape.accumulate(variable, made)

        f.tape.record(out.variable, backward)
    return out


def _cast(f: Parameters, x: Tensor, name: str) -> Tensor:
    """Returns `x` in fp16; bf16 is copied although it has as many bytes."""
    if x.itemsize == HALF and not f.dtypes.half_is_fp16:
        return f.unary(x, name)
    return f.to(x, HALF, name)


def _back(f: Parameters, out: Tensor, itemsize: int, name: str) -> Tensor:
    """Returns `out`, which is in fp16, in the dtype that the input had; bf16 is a copy."""
    if itemsize == HALF and not f.dtypes.half_is_fp16:
        return f.unary(out, name)
    return f.to(out, itemsize, name)


def _dequantize(f: Parameters, elements: int, moves: int) -> Storage:
    """Returns the storage of a whole weight in half precision; `moves` half bytes per element are moved for it."""
    f.tape.cost.fixed_bytes += elements * moves // 2
    return f.tape.storage(elements * HALF, 0)

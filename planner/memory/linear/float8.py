"""torchao's Float8Linear with tensorwise dynamic scales, run eagerly (torchao/float8/float8_linear.py,
`matmul_with_hp_or_float8_args`): inputs and weights are saved as they come and cast to fp8 anew for each product."""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import MATMUL_FP8, Storage, Tensor
from planner.memory.settings.parameters import Parameters
from strategies import Operation

FP8 = 1
MULTIPLE = 16
"""Widths that accelerate converts are multiples of it (accelerate/utils/ao.py, `filter_linear_layers`)."""


def converts(in_features: int, out_features: int) -> bool:
    return in_features % MULTIPLE == 0 and out_features % MULTIPLE == 0


def layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Callable[[], Tensor], Tensor | None]:
    """A layer whose widths it converts, in place of `low_rank.plain_layer`."""
    itemsize, trains = f.dtypes.linear, f.trains_base
    weight = f.parameter(f"{name}.weight", x.width * out_features, itemsize, trains=trains)
    bias = f.parameter(f"{name}.bias", out_features, itemsize, trains=trains) if has_bias else None
    return linear(f, x, weight, bias, out_features, name), lambda: weight, bias


def linear(f: Ops, x: Tensor, weight: Tensor, bias: Tensor | None, out_features: int, name: str) -> Tensor:
    """The weight is saved in fp32, which is the parameter itself; its gradient comes in half precision and is cast."""
    x = f.autocast_input(x, f"{name} input")
    saved = [f.tape.save(x)]
    rows = x.per_sample // x.width
    result, elements, given = rows * out_features, weight.fixed, x.per_sample
    flops = 2 * given * out_features
    x8, weight8 = _cast(f, 0, given, x.itemsize), _cast(f, elements, 0, weight.itemsize)
    padded = f.tape.storage(elements * FP8, given * FP8)  # copies, of nothing more (`pad_tensor_for_matmul`)
    # FLOPs in fp8 are counted below. A checkpointing policy sees `mm`, of tensors that are fp8 within.
    out = f.product(result, out_features, HALF, f"{name} output", x, weight, flops=0, operation=Operation.MM)
    del x8, weight8, padded
    f.tape.cost.flops_per_sample[MATMUL_FP8] += flops
    into, of_weight = x.variable, weight.variable
    itemsize, stored = x.itemsize, weight.itemsize

    def backward(gradient: Storage) -> None:
        tape = f.tape
        by_input = _cast(f, 0, result, HALF), _cast(f, elements, 0, stored)
        padded, of_padded = tape.storage(0, result * FP8), tape.storage(elements * FP8, 0)
        turned = tape.storage(elements * FP8, 0)  # `b_data.t().contiguous().t()`
        del of_padded
        of_input = tape.storage(0, given * itemsize)
        del padded, turned
        by_weight = _cast(f, 0, result, HALF), _cast(f, 0, given, itemsize)
        rows_first = _rows_first(f, result), _rows_first(f, given)
        made = tape.storage(elements * HALF, 0)
        del rows_first, by_weight, by_input
        kept = tape.storage(elements * stored, 0)
        del made
        tape.cost.flops_per_sample[MATMUL_FP8] += 2 * flops
        if into is not None:
            tape.accumulate(into, of_input)
        del of_input
        if of_weight is not None:
            tape.accumulate(of_weight, kept)

    assert out.variable is not None
    f.tape.record(out.variable, backward, *saved)
    return out if bias is None else f.add(out, f.to(bias, HALF, f"{name} bias"), f"{name} with bias")


def _cast(f: Ops, fixed: int, per_sample: int, itemsize: int) -> Storage:
    """A tensor in fp8 (float8_scaling_utils.py, `hp_tensor_to_float8_dynamic`): by way of its absolute values, for the
    scale, then of itself in fp32, scaled and clamped."""
    storage = f.tape.storage
    absolute = storage(fixed * itemsize, per_sample * itemsize)
    del absolute
    upcast = storage(fixed * FP32, per_sample * FP32) if itemsize < FP32 else None
    scaled = storage(fixed * FP32, per_sample * FP32)
    del upcast
    clamped = storage(fixed * FP32, per_sample * FP32)
    cast = storage(fixed * FP8, per_sample * FP8)
    del scaled, clamped
    f.tape.cost.bytes_per_sample += per_sample * (2 * itemsize + 4 * FP32 + FP8)
    f.tape.cost.fixed_bytes += fixed * (2 * itemsize + 4 * FP32 + FP8)
    return cast


def _rows_first(f: Ops, per_sample: int) -> Storage:
    """Padded, then copied to the layout that the kernel takes."""
    padded = f.tape.storage(0, per_sample * FP8)
    turned = f.tape.storage(0, per_sample * FP8)
    del padded
    return turned

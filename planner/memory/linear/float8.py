"""Implements torchao's Float8Linear with tensorwise dynamic scales, run eagerly.

Inputs and weights are saved in the dtype that they come in, and cast to fp8 anew for each product. Source:
torchao/float8/float8_linear.py, `matmul_with_hp_or_float8_args`.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import MATMUL_FP8, Storage, Tensor
from planner.memory.settings.parameters import Parameters
from strategies import Operation

FP8 = 1
"""Bytes per element in fp8."""
MULTIPLE = 16
"""Number that has to divide both widths of a layer that accelerate converts (accelerate/utils/ao.py,
`filter_linear_layers`)."""


def converts(in_features: int, out_features: int) -> bool:
    """Returns whether accelerate converts a linear layer of these widths to fp8."""
    return in_features % MULTIPLE == 0 and out_features % MULTIPLE == 0


def layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Callable[[], Tensor], Tensor | None]:
    """Computes a linear layer that accelerate has converted to fp8, in place of `plain.plain_layer`.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output, a function that returns the weight, and the bias or None.
    """
    itemsize, trains = f.dtypes.linear, f.trains_base
    weight = f.parameter(f"{name}.weight", x.width * out_features, itemsize, trains=trains)
    bias = f.parameter(f"{name}.bias", out_features, itemsize, trains=trains) if has_bias else None
    with f.tape.module(weight.module):
        return linear(f, x, weight, bias, out_features, name), lambda: weight, bias


def linear(f: Ops, x: Tensor, weight: Tensor, bias: Tensor | None, out_features: int, name: str) -> Tensor:
    """Returns `x @ weight.T + bias`, multiplied in fp8; the output is in half precision.

    Autograd saves `x` and the weight. The saved weight is the fp32 parameter itself and takes no bytes of its own; its
    gradient is made in half precision and then cast.

    Args:
        f: Operations on the tape.
        x: Input of the layer.
        weight: Weight of the layer.
        bias: Bias of the layer, or None.
        out_features: Output features of the layer.
        name: Name of the layer.
    """
    x = f.autocast_input(x, f"{name} input")
    saved = [f.tape.save(x)]
    rows = x.per_sample // x.width
    result, elements, given = rows * out_features, weight.fixed, x.per_sample
    flops = 2 * given * out_features
    x8, weight8 = _cast(f, 0, given, x.itemsize), _cast(f, elements, 0, weight.itemsize)
    padded = f.tape.storage(elements * FP8, given * FP8)  # copies without padding (`pad_tensor_for_matmul`)
    # FLOPs in fp8 are counted below. A checkpointing policy sees an `mm` of tensors that hold fp8 inside.
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
        kept = tape.storage(elements * stored, 0) if stored > HALF else made
        del made
        tape.cost.flops_per_sample[MATMUL_FP8] += 2 * flops
        if into is not None:
            tape.accumulate(into, of_input)
        del of_input
        if of_weight is not None:
            tape.accumulate(of_weight, kept)

    assert out.variable is not None
    f.tape.record(out.variable, backward, *saved)
    if f.tape.keep_saved:
        f.tape.view(weight.name)
    return out if bias is None else f.add(out, f.to(bias, HALF, f"{name} bias"), f"{name} with bias")


def _cast(f: Ops, fixed: int, per_sample: int, itemsize: int) -> Storage:
    """Returns the storage of a tensor cast to fp8 (float8_scaling_utils.py, `hp_tensor_to_float8_dynamic`).

    On the way there are its absolute values, for the scale, then the tensor itself in fp32, scaled and clamped.

    Args:
        f: Operations on the tape.
        fixed: Elements that all samples share.
        per_sample: Elements per sample.
        itemsize: Bytes per element before the cast.
    """
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
    """Returns the storage of an fp8 tensor that is padded, then copied to the layout that the kernel takes."""
    padded = f.tape.storage(0, per_sample * FP8)
    turned = f.tape.storage(0, per_sample * FP8)
    del padded
    return turned

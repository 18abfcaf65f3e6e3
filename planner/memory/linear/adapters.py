"""Adds to the output of a linear layer what PEFT adds: low-rank adapters and their variants."""

from __future__ import annotations

from planner.memory.autograd.tape import Tensor
from planner.memory.linear.lora import Adapter, low_rank
from planner.memory.linear.plain import Base, Layer
from planner.memory.settings.parameters import Parameters
from strategies import Lora


def adapted(
    f: Parameters, method: Lora, name: str, x: Tensor, out_features: int, has_bias: bool, layer: Layer, base: Base
) -> Tensor:
    """Returns `layer(x) + B(A(x)) * scaling`, or for DoRA the layer's output plus DoRA's change.

    Args:
        f: Operations and parameters on the tape.
        method: Rank, variant and dropout of the adapter.
        name: Name of the linear layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.
        layer: The linear layer under the adapter.
        base: How PEFT treats that layer.
    """
    out, weight, bias = layer(f, name, x, out_features, has_bias)
    adapter = Adapter.of(f, method, name, x.width, out.width)
    given = out.itemsize
    if base.copies:
        out = f.clone(out, f"{name} clone")
    casts = base.casts_under_autocast or f.autocast is None
    if casts:
        # PEFT casts to the dtype that A's weight has when its forward has not begun yet
        seen = f.dtypes.stored_adapter if f.dtypes.adapters_apart and not f.gathered(name) else f.dtypes.adapter
        x = f.to(x, seen, f"{name} lora input")
    if adapter.magnitude is not None:
        from planner.memory.linear.dora import dora

        dropped, drops = f.dropout(x, method.dropout, f"{name} lora dropout"), method.dropout > 0
        change = dora(f, name, dropped, out, adapter, weight, bias, drops=drops)
        del dropped
        out = f.add(out, change, f"{name} lora sum")
        del change
        return f.to(out, given, f"{name} lora output") if casts else out
    change = low_rank(f, name, f.dropout(x, method.dropout, f"{name} lora dropout"), adapter)
    change = f.unary(change, f"{name} lora scaling")
    if casts and not base.casts_under_autocast:
        change = f.to(change, given, f"{name} lora output")
    out = f.add(out, change, f"{name} lora sum")
    del change
    return f.to(out, given, f"{name} lora output") if base.casts_under_autocast else out

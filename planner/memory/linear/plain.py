"""Traces linear layers without an adapter, and says what an adapter needs to know of the layer under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tensor
from planner.memory.settings.parameters import Parameters


class Base(NamedTuple):
    """Describes how PEFT treats the layer under an adapter.

    Source: peft/tuners/lora/layer.py, bnb.py, gptq.py, awq.py.

    Attributes:
        copies: Whether the layer's output is copied before anything is added to it.
        casts_under_autocast: Whether the input is cast to the adapter's dtype and the sum back to the output's dtype,
            with or without autocast. If not, the casts happen only without autocast, and the adapter's output is cast
            back instead of the sum.
    """

    copies: bool = False
    casts_under_autocast: bool = True


Weight = Callable[[], Tensor]
"""Function that returns the whole weight of the layer under an adapter: a parameter, or a tensor dequantized at the
call."""

Layer = Callable[[Parameters, str, Tensor, int, bool], tuple[Tensor, Weight, Tensor | None]]
"""Linear layer without an adapter: a function of operations, name, input, output features and whether there is a bias.
It returns its output and what an adapter may need of it: the whole weight and the bias."""


def plain_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a `torch.nn.Linear`.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output, a function that returns the weight, and the bias or None.
    """
    return _linear(f, name, x, out_features, has_bias, f.dtypes.linear)


def fp32_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a `torch.nn.Linear` that is one of `_keep_in_fp32_modules`.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.

    Returns:
        The output, a function that returns the weight, and the bias or None.
    """
    return _linear(f, name, x, out_features, has_bias, f.dtypes.kept)


def module_layer(f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool) -> Tensor:
    """Computes a `torch.nn.Linear` of a module that trains while others are frozen, and returns its output.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.
    """
    return _linear(f, name, x, out_features, has_bias, f.dtypes.trained, trains=True)[0]


def _linear(
    f: Parameters,
    name: str,
    x: Tensor,
    out_features: int,
    has_bias: bool,
    itemsize: int,
    *,
    trains: bool | None = None,
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a `torch.nn.Linear` whose parameters take `itemsize` bytes per element.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the layer.
        x: Input of the layer.
        out_features: Output features of the layer.
        has_bias: Whether the layer has a bias.
        itemsize: Bytes per element of its parameters.
        trains: Whether they train; None where that is as in the rest of the part.
    """
    trains = f.trains_base if trains is None else trains
    weight = f.parameter(f"{name}.weight", x.width * out_features, itemsize, trains=trains)
    bias = f.parameter(f"{name}.bias", out_features, itemsize, trains=trains) if has_bias else None
    return Ops.linear(f, x, weight, bias, out_features, name), lambda: weight, bias


def written_out_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """Computes a linear layer that its model writes out as `x @ weight.T + bias`.

    Autocast's copy of the weight is one of a view, so it is not cached. The sum has the wider dtype of the product and
    the bias.

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
        out = Ops.linear(f, x, f.autocast_input(weight, f"{name} weight"), None, out_features, name, written_out=True)
        if out.variable is not None and x.variable is not None and f.tape.keep_saved:
            f.tape.view(weight.name)
        if bias is not None:
            out = f.add(out, bias, f"{name} bias")
    return out, lambda: weight, bias

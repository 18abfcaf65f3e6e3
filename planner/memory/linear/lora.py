"""The trained tensors of a low-rank adapter, and their product with an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tensor
from planner.memory.settings.parameters import Parameters
from strategies import Lora, LoraVariant


class Base(NamedTuple):
    """The layer under an adapter, as its class in PEFT treats it (peft/tuners/lora/layer.py, bnb.py, gptq.py, awq.py).

    `copies`: its output, before anything is added. `casts_under_autocast`: the input to the adapter's dtype, and the
    sum back to the output's; otherwise only without autocast, and then the adapter's output instead of the sum.
    """

    copies: bool = False
    casts_under_autocast: bool = True


Weight = Callable[[], Tensor]
"""The weight under an adapter, whole: a parameter, or made of a quantized one."""


Layer = Callable[[Parameters, str, Tensor, int, bool], tuple[Tensor, Weight, Tensor | None]]
"""A linear layer without adapter: from name, input, width of the output and whether it has a bias, its output, and what
an adapter may need of it: the whole weight and the bias."""


def plain_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """`torch.nn.Linear`."""
    return _linear(f, name, x, out_features, has_bias, f.dtypes.linear)


def kept_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """The same, one of `_keep_in_fp32_modules`."""
    return _linear(f, name, x, out_features, has_bias, f.dtypes.kept)


def _linear(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool, itemsize: int
) -> tuple[Tensor, Weight, Tensor | None]:
    trains = f.trains_base
    weight = f.parameter(f"{name}.weight", x.width * out_features, itemsize, trains=trains)
    bias = f.parameter(f"{name}.bias", out_features, itemsize, trains=trains) if has_bias else None
    return Ops.linear(f, x, weight, bias, out_features, name), lambda: weight, bias


def written_out_layer(
    f: Parameters, name: str, x: Tensor, out_features: int, has_bias: bool
) -> tuple[Tensor, Weight, Tensor | None]:
    """`x @ weight.T + bias`: autocast's copy of the weight is of a view, not cached; the bias widens the sum."""
    itemsize, trains = f.dtypes.linear, f.trains_base
    weight = f.parameter(f"{name}.weight", x.width * out_features, itemsize, trains=trains)
    out = Ops.linear(f, x, f.autocast_input(weight, f"{name} weight"), None, out_features, name)
    bias = f.parameter(f"{name}.bias", out_features, itemsize, trains=trains) if has_bias else None
    if bias is not None:
        out = f.add(out, bias, f"{name} bias")
    return out, lambda: weight, bias


class Adapter(NamedTuple):
    """The trained tensors of one adapter: A, B, and DoRA's magnitudes."""

    down: Tensor
    up: Tensor
    magnitude: Tensor | None

    @classmethod
    def of(cls, f: Parameters, method: Lora, name: str, in_features: int, out_features: int) -> Adapter:
        def parameter(part: str, elements: int) -> Tensor:
            return f.parameter(f"{name}.{part}", elements, f.dtypes.adapter, trains=True)

        has_magnitude = method.variant is LoraVariant.DORA
        return cls(
            parameter("lora_A", in_features * method.rank),
            parameter("lora_B", method.rank * out_features),
            parameter("lora_magnitude_vector", out_features) if has_magnitude else None,
        )


def low_rank(f: Parameters, name: str, x: Tensor, adapter: Adapter) -> Tensor:
    """`B(A(x))`."""
    rank = adapter.down.fixed // x.width
    out_features = adapter.up.fixed // rank
    low = Ops.linear(f, x, adapter.down, None, rank, f"{name} lora_A")
    return Ops.linear(f, low, adapter.up, None, out_features, f"{name} lora_B")

"""Traces the trained tensors of a low-rank adapter, and their product with an input."""

from __future__ import annotations

from typing import NamedTuple

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tensor
from planner.memory.settings.parameters import Parameters
from strategies import Lora, LoraVariant


class Adapter(NamedTuple):
    """Holds the trained tensors of one adapter.

    Attributes:
        down: A, `[rank, in_features]`.
        up: B, `[out_features, rank]`.
        magnitude: DoRA's magnitudes, one per output feature; None for the other variants.
    """

    down: Tensor
    up: Tensor
    magnitude: Tensor | None

    @classmethod
    def of(cls, f: Parameters, method: Lora, name: str, in_features: int, out_features: int) -> Adapter:
        """Returns the adapter of a linear layer.

        Args:
            f: Operations and parameters on the tape.
            method: Rank and variant of the adapter.
            name: Name of the linear layer.
            in_features: Input features of the layer.
            out_features: Output features of the layer.
        """

        def parameter(part: str, elements: int) -> Tensor:
            return f.parameter(f"{name}.{part}", elements, f.dtypes.adapter, trains=True)

        has_magnitude = method.variant is LoraVariant.DORA
        return cls(
            parameter("lora_A", in_features * method.rank),
            parameter("lora_B", method.rank * out_features),
            parameter("lora_magnitude_vector", out_features) if has_magnitude else None,
        )


def low_rank(f: Parameters, name: str, x: Tensor, adapter: Adapter) -> Tensor:
    """Returns `B(A(x))`, without the scaling."""
    rank = adapter.down.fixed // x.width
    out_features = adapter.up.fixed // rank
    low = Ops.linear(f, x, adapter.down, None, rank, f"{name} lora_A")
    if f.dtypes.adapters_apart and f.tape.first_unit is None:
        f.tape.first_unit = low.variable
    out = Ops.linear(f, low, adapter.up, None, out_features, f"{name} lora_B")
    f.tape.enter_unit(name)
    return out

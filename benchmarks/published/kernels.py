"""Traces runs with the Triton kernels of fms-acceleration's plug-in, which no choice of the planner names."""

from __future__ import annotations

from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.tracing.implementations import Implementations
from strategies import Kernels


class Foak(LigerLayers):
    """RMSNorm and rotary embedding work in place as liger-kernel's do; the MLP is transformers' own.

    Source: fms_acceleration_foak, kernels/unsloth/rms_layernorm.py and rope_embedding.py, models/llama.py.
    """

    activation = Layers.activation
    mul = Layers.mul


def with_foak(today: Implementations) -> Implementations:
    """Returns implementations in which the choice `liger` means these kernels."""
    return today._replace(
        layers={**today.layers, Kernels.LIGER: Foak}, within_blocks={**today.within_blocks, Kernels.LIGER: Foak}
    )

"""Traces runs with the Triton kernels of fms-acceleration's plug-in, which no choice of the planner names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.step import tracer
from strategies import Kernels


class Foak(LigerLayers):
    """RMSNorm and rotary embedding work in place as liger-kernel's do; the MLP is transformers' own.

    Source: fms_acceleration_foak, kernels/unsloth/rms_layernorm.py and rope_embedding.py, models/llama.py.
    """

    activation = Layers.activation
    mul = Layers.mul


@contextmanager
def foak() -> Iterator[None]:
    """Lets the choice `liger` mean these kernels, while models are traced that have not been traced before."""
    tables = (tracer.LAYERS, tracer.WITHIN_BLOCKS)
    before = [table[Kernels.LIGER] for table in tables]
    try:
        for table in tables:
            table[Kernels.LIGER] = Foak
        yield
    finally:
        for table, layers in zip(tables, before, strict=True):
            table[Kernels.LIGER] = layers

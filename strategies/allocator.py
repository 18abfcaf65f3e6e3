"""Defines the axis of the caching allocator: how it takes memory from the GPU."""

from __future__ import annotations

from strategies.axis import axis_of
from strategies.choice import Choice


class Allocator(Choice):
    """Says how torch's caching allocator is set up by `PYTORCH_CUDA_ALLOC_CONF` (`PYTORCH_ALLOC_CONF` since torch 2.9).

    A native segment that is partly free cannot serve a request larger than its free part, and cannot be given back to
    the GPU. Expandable segments grow, and give back every page that is free.
    """

    EXPANDABLE = "expandable", "expandable_segments:True"
    NATIVE = "native", "torch's default: segments of fixed size, which fragment"


AXIS = axis_of(Allocator, phrase="{} allocator")

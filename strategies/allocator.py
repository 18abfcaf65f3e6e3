"""The axis of the caching allocator: how it takes memory from the GPU."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Allocator(Choice):
    """What `PYTORCH_CUDA_ALLOC_CONF` (`PYTORCH_ALLOC_CONF` since torch 2.9) says. Native segments that are free in part
    can serve nothing larger and cannot be given back; expandable ones grow, and give back every page that is free."""

    EXPANDABLE = "expandable", "expandable_segments:True"
    NATIVE = "native", "torch's default: segments of fixed size, which fragment"


AXIS = axis_of(Allocator, phrase="{} allocator")

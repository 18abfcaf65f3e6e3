"""Defines where a step runs and which kernels it uses: CUDA's on fake tensors, or those of the device itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from planner.libraries.allocator import BLOCK_BYTES
from planner.libraries.sdpa import Selection
from planner.replay.cuda.attention import ATTENTION
from planner.replay.cuda.path import taken


class Backend(NamedTuple):
    """Describes the device and kernels of a step, on which it depends in addition to its strategy."""

    device: str
    """Device of every tensor, fake ones included."""
    sdpa: str
    """`attn_implementation` of transformers if the strategy's attention is SDPA."""
    block_bytes: int
    """Bytes to whose multiple the device's allocator rounds sizes up."""
    kernels: Callable[[Selection], AbstractContextManager[Any]]
    """Returns a context in which a replay uses the backend's kernels, given how CUDA's SDPA kernels are selected.

    A real step selects its kernels itself.
    """

    @property
    def is_cuda(self) -> bool:
        """Whether a replay does what CUDA does, so that kernels without a CPU's version have stand-ins."""
        return self.kernels is taken


CUDA_PATH = Backend("cpu", ATTENTION, BLOCK_BYTES, taken)
"""CUDA's kernels on fake tensors of the CPU; replays that certify a plan run on this backend."""

CPU = Backend("cpu", "sdpa", 1, nullcontext)
"""The CPU's own kernels, on fake or real tensors.

Its allocator counts bytes as requested (c10/core/CPUAllocator.cpp, `ProfiledCPUMemoryReporter::New`).
"""

CUDA = Backend("cuda", "sdpa", BLOCK_BYTES, nullcontext)
"""A real GPU with its own kernels."""

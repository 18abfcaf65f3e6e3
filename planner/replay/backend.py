"""Where a step runs and whose kernels it takes: CUDA's on fake tensors, or those of the device itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from planner.libraries.sdpa import Selection
from planner.replay import cuda_path


class Backend(NamedTuple):
    """What the same step depends on beside its strategy."""

    device: str
    """Of every tensor; fake tensors say it too."""
    sdpa: str
    """`attn_implementation` of transformers where the strategy says SDPA."""
    block_bytes: int
    """What the device's allocator rounds sizes to."""
    kernels: Callable[[Selection], AbstractContextManager[Any]]
    """Holds while a replay runs, told how to select CUDA's SDPA kernels; a real step takes what it takes."""


CUDA_BLOCK = 512
"""c10/cuda/CUDACachingAllocator.h, kMinBlockSize."""

CUDA_PATH = Backend("cpu", cuda_path.ATTENTION, CUDA_BLOCK, cuda_path.taken)
"""CUDA's kernels on fake tensors of the CPU: what certifies a plan."""

CPU = Backend("cpu", "sdpa", 1, nullcontext)
"""The CPU's own kernels, fake or real. Its allocator counts the bytes that were asked for (c10/core/CPUAllocator.cpp,
`ProfiledCPUMemoryReporter::New`)."""

CUDA = Backend("cuda", "sdpa", CUDA_BLOCK, nullcontext)
"""A real GPU."""

"""Sizes of torch's caching allocators, of CUDA memory and of pinned host memory.

Sources: c10/cuda/CUDACachingAllocator.h and ATen/core/CachingHostAllocator.h, of torch 2.13.
"""

from __future__ import annotations

BLOCK_BYTES = 512
"""Multiple to which every request is rounded up, and size of the smallest block (kMinBlockSize)."""


def allocated(num_bytes: int) -> int:
    """Returns the bytes of the block that serves a request."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def pinned(num_bytes: int) -> int:
    """Returns the bytes of host memory that a pinned tensor takes: a power of two (`CachingHostAllocatorImpl`).

    `PYTORCH_CUDA_ALLOC_CONF=pinned_max_round_threshold_mb:...` can turn that off, which is not considered here.
    """
    return 1 << (num_bytes - 1).bit_length() if num_bytes else 0

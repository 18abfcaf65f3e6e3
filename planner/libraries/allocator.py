"""Rounds sizes as torch's caching allocators of CUDA memory and of pinned host memory do.

Sources, of torch 2.13: c10/cuda/CUDACachingAllocator.h, ATen/core/CachingHostAllocator.h, c10/core/AllocatorConfig.h.
"""

from __future__ import annotations

BLOCK_BYTES = 512
"""Multiple to which every request is rounded up, and size of the smallest block (kMinBlockSize)."""


def allocated(num_bytes: int) -> int:
    """Returns the bytes of the block that serves a request."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def pinned(num_bytes: int) -> int:
    """Returns the bytes of host memory that a pinned tensor takes: a power of two (`CachingHostAllocatorImpl`).

    `pinned_max_round_threshold_`, above which it is not rounded, is the largest number unless
    `PYTORCH_CUDA_ALLOC_CONF=pinned_max_round_threshold_mb:...` says otherwise, which is not considered here.
    """
    return 1 << (num_bytes - 1).bit_length() if num_bytes else 0

"""Sizes of CUDA's caching allocator (c10/cuda/CUDACachingAllocator.h, of torch 2.13)."""

from __future__ import annotations

BLOCK_BYTES = 512
"""Multiple to which every request is rounded up, and size of the smallest block (kMinBlockSize)."""


def allocated(num_bytes: int) -> int:
    """Returns the bytes of the block that serves a request."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES

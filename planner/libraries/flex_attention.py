"""The mask of torch's flex_attention (torch/nn/attention/flex_attention.py, of torch 2.13)."""

from __future__ import annotations

INT32 = 4
BLOCK = 128
"""Rows and columns of a block of the mask."""


def block_mask_bytes(sequence_length: int) -> int:
    """Of one sample: numbers and indices of partial and of full blocks, by rows and by columns, in int32
    (torch/nn/attention/flex_attention.py, `BlockMask`)."""
    blocks = -(-sequence_length // BLOCK)
    return 4 * (blocks + blocks**2) * INT32

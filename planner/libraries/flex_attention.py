"""Sizes the block mask of torch's flex_attention (torch 2.13, torch/nn/attention/flex_attention.py)."""

from __future__ import annotations

INT32 = 4
BLOCK = 128
"""Rows, and columns, of a block of the mask."""


def block_mask_bytes(sequence_length: int) -> int:
    """Returns the bytes of the block mask of one sample.

    It consists of the numbers and the indices of partial and of full blocks, by rows and by columns, in int32
    (torch/nn/attention/flex_attention.py, `BlockMask`).

    Args:
        sequence_length: Tokens of the sample.
    """
    blocks = -(-sequence_length // BLOCK)
    return 4 * (blocks + blocks**2) * INT32

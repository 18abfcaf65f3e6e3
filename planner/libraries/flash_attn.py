"""Rounds sizes up as flash-attn (version 2.8) does (csrc/flash_attn/flash_api.cpp and hopper/flash_api.cpp)."""

from __future__ import annotations

ROWS_2 = 128
"""FlashAttention 2 rounds rows up to a multiple of this (csrc/flash_attn/flash_api.cpp, `seqlen_q_rounded`)."""
HEAD_DIMS_3 = (64, 96, 128, 192, 256)
"""FlashAttention 3 rounds the head dimension up to one of these (hopper/flash_api.cpp, `round_up_headdim`)."""

LARGEST_HEAD = 256
"""Columns of the largest head that flash-attn takes (csrc/flash_attn/flash_api.cpp, `mha_fwd`). Only for larger heads
does transformers repeat grouped heads for SDPA (integrations/sdpa_attention.py, `use_gqa_in_sdpa`)."""


def rounded(number: int, multiple: int) -> int:
    """Returns `number` rounded up to a multiple of `multiple`."""
    return -(-number // multiple) * multiple


def head_dim_2(head_dim: int) -> int:
    """Returns a head dimension as FlashAttention 2 rounds it up (flash_api.cpp, `head_size_rounded`)."""
    return rounded(head_dim, 32 if head_dim <= 128 else 64)


def head_dim_3(head_dim: int) -> int:
    """Returns a head dimension, at most 256, as FlashAttention 3 rounds it up."""
    return next(size for size in HEAD_DIMS_3 if size >= head_dim)


def rows_3(head_dim: int) -> tuple[int, int]:
    """Returns rows of queries and of keys in a tile of FlashAttention 3's backward (`kBlockM_sm90`, `kBlockN_sm90`)."""
    size = head_dim_3(head_dim)
    of_queries = 128 if size <= 64 else 64
    return of_queries, 128 if size <= 128 else 96 if size <= 192 else 80

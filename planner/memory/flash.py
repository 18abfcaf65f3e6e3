"""Attention of the flash-attn package and of torch's flex_attention: neither writes scores, masks or windows out, and
selective checkpointing knows neither as scaled_dot_product_attention."""

from __future__ import annotations

from planner.memory.fused_attention import Form, fused
from planner.memory.ops import FP32, HALF, Ops
from planner.memory.tape import Tensor

ROWS_2 = 128
"""FlashAttention 2 rounds rows up to so many (csrc/flash_attn/flash_api.cpp, `seqlen_q_rounded`)."""
HEAD_DIMS_3 = (64, 96, 128, 192, 256)
"""FlashAttention 3 rounds a head up to one of these (hopper/flash_api.cpp, `round_up_headdim`)."""
INT32 = 4
BLOCK = 128
"""Rows and columns of a block of flex_attention's mask (torch/nn/attention/flex_attention.py)."""


def rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def head_dim_2(head_dim: int) -> int:
    """As FlashAttention 2 rounds it (flash_api.cpp, `head_size_rounded`)."""
    return rounded(head_dim, 32 if head_dim <= 128 else 64)


def head_dim_3(head_dim: int) -> int:
    return next(size for size in HEAD_DIMS_3 if size >= head_dim)


def rows_3(head_dim: int) -> tuple[int, int]:
    """Rows of queries and of keys in a tile of FlashAttention 3's backward (`kBlockM_sm90`, `kBlockN_sm90`)."""
    size = head_dim_3(head_dim)
    of_queries = 128 if size <= 64 else 64
    return of_queries, 128 if size <= 128 else 96 if size <= 192 else 80


def flash_2(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Backward accumulates dq in fp32, rows and heads rounded up, and, with grouped heads, makes dk and dv for every
    head of queries (csrc/flash_attn/flash_api.cpp, `mha_bwd`). The output has q's layout, o_proj wants tokens first."""
    heads_first, elements, head_dim = query.heads_first, query.per_sample, _head_dim(f, query, form)
    rows = form.heads * rounded(f.sequence_length, ROWS_2)
    workspace = [rows * FP32, rows * head_dim_2(head_dim) * FP32]
    if form.heads != form.kv_heads:
        workspace += [elements * HALF] * 2
    out = fused(f, *_in_half(f, query, key, value), form._replace(operation=None), workspace)
    return f.unary(out, "attention output in token order") if heads_first else out


def flash_3(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Backward keeps a row sum and a log-sum-exp to the base 2, accumulates dq in fp32, and, with grouped heads, dk and
    dv as well (hopper/flash_api.cpp, `mha_bwd`). The output is in token order."""
    head_dim = _head_dim(f, query, form)
    of_queries, of_keys = rows_3(head_dim)
    size, rows = head_dim_3(head_dim), form.heads * rounded(f.sequence_length, of_queries)
    workspace = [rows * FP32, rows * FP32, rows * size * FP32]
    if form.heads != form.kv_heads:
        workspace += [form.kv_heads * rounded(f.sequence_length, of_keys) * size * FP32] * 2
    return fused(f, *_in_half(f, query, key, value), form._replace(operation=None), workspace)


def flex(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Grouped heads are taken as they are if there is a power of two of them, else repeated
    (transformers/integrations/flex_attention.py). Backward makes a row sum and a gradient of zeros for the log-sum-exp,
    which transformers asks for and drops (torch/_inductor/kernel/flex/flex_attention.py, `flex_attention_backward`).
    """
    heads_first, kv_heads = query.heads_first, form.kv_heads
    if form.heads & (form.heads - 1) and kv_heads != form.heads:
        key, value = (f.broadcast(x, query.per_sample, f"attention {n}") for x, n in ((key, "k"), (value, "v")))
        kv_heads = form.heads
    query, key, value = (f.autocast_input(x, f"attention {n}") for x, n in ((query, "q"), (key, "k"), (value, "v")))
    rows = form.heads * f.sequence_length
    out = fused(f, query, key, value, form._replace(kv_heads=kv_heads, operation=None), [rows * FP32, rows * FP32])
    return f.unary(out, "attention output in token order") if heads_first else out


def block_mask_bytes(sequence_length: int) -> int:
    """Of one sample: numbers and indices of partial and of full blocks, by rows and by columns, in int32
    (torch/nn/attention/flex_attention.py, `BlockMask`)."""
    blocks = -(-sequence_length // BLOCK)
    return 4 * (blocks + blocks**2) * INT32


def _head_dim(f: Ops, query: Tensor, form: Form) -> int:
    return query.per_sample // (form.heads * f.sequence_length)


def _in_half(f: Ops, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """flash-attn takes no fp32: transformers casts q, k and v with or without autocast
    (transformers/modeling_flash_attention_utils.py, `fa_peft_integration_check`)."""
    return f.to(query, HALF, "attention q"), f.to(key, HALF, "attention k"), f.to(value, HALF, "attention v")

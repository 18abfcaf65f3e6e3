"""Traces attention of the flash-attn package and of torch's flex_attention.

Neither allocates scores, masks or windows, and selective checkpointing does not take either of them for
scaled_dot_product_attention.
"""

from __future__ import annotations

from planner.libraries.flash_attn import ROWS_2, head_dim_2, head_dim_3, rounded, rows_3
from planner.memory.attention.fused import Form, fused
from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tensor


def flash_2(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Runs FlashAttention 2.

    Backward accumulates dq in fp32, with rows and head dimension rounded up, and, with grouped heads, makes dk and dv
    for every query head (csrc/flash_attn/flash_api.cpp, `mha_bwd`). The output has q's layout, while o_proj needs
    tokens first.
    """
    heads_first, elements, head_dim = query.heads_first, query.per_sample, _head_dim(f, query, form)
    rows = form.heads * rounded(f.sequence_length, ROWS_2)
    workspace = [rows * FP32, rows * head_dim_2(head_dim) * FP32]
    if form.heads != form.kv_heads:
        workspace += [elements * HALF] * 2
    out = fused(f, *_in_half(f, query, key, value), form._replace(operation=None), workspace)
    return f.unary(out, "attention output in token order") if heads_first else out


def flash_3(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Runs FlashAttention 3.

    Backward allocates a sum and a base-2 log-sum-exp per row and head, and accumulates dq in fp32, with grouped heads
    also dk and dv (hopper/flash_api.cpp, `mha_bwd`). The output is in token order.
    """
    head_dim = _head_dim(f, query, form)
    of_queries, of_keys = rows_3(head_dim)
    size, rows = head_dim_3(head_dim), form.heads * rounded(f.sequence_length, of_queries)
    workspace = [rows * FP32, rows * FP32, rows * size * FP32]
    if form.heads != form.kv_heads:
        workspace += [form.kv_heads * rounded(f.sequence_length, of_keys) * size * FP32] * 2
    return fused(f, *_in_half(f, query, key, value), form._replace(operation=None), workspace)


def flex(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Runs flex_attention.

    Grouped heads of k and v are repeated unless the number of query heads is a power of two
    (transformers/integrations/flex_attention.py). Backward makes a sum per row and head, and a gradient of zeros for
    the log-sum-exp, which transformers requests and drops (torch/_inductor/kernel/flex/flex_attention.py,
    `flex_attention_backward`).
    """
    heads_first, kv_heads = query.heads_first, form.kv_heads
    if form.heads & (form.heads - 1) and kv_heads != form.heads:
        key, value = (f.broadcast(x, query.per_sample, f"attention {n}") for x, n in ((key, "k"), (value, "v")))
        kv_heads = form.heads
    query, key, value = (f.autocast_input(x, f"attention {n}") for x, n in ((query, "q"), (key, "k"), (value, "v")))
    rows = form.heads * f.sequence_length
    out = fused(f, query, key, value, form._replace(kv_heads=kv_heads, operation=None), [rows * FP32, rows * FP32])
    return f.unary(out, "attention output in token order") if heads_first else out


def _head_dim(f: Ops, query: Tensor, form: Form) -> int:
    return query.per_sample // (form.heads * f.sequence_length)


def _in_half(f: Ops, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Casts q, k and v to half precision: flash-attn takes no fp32, so transformers does this even without autocast.

    Source: transformers/modeling_flash_attention_utils.py, `fa_peft_integration_check`.
    """
    return f.to(query, HALF, "attention q"), f.to(key, HALF, "attention k"), f.to(value, HALF, "attention v")

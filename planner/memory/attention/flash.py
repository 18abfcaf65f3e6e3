"""Attention of the flash-attn package and of torch's flex_attention: neither writes scores, masks or windows out, and
selective checkpointing knows neither as scaled_dot_product_attention."""

from __future__ import annotations

from planner.libraries.flash_attn import ROWS_2, head_dim_2, head_dim_3, rounded, rows_3
from planner.memory.attention.fused import Form, fused
from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tensor


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


def _head_dim(f: Ops, query: Tensor, form: Form) -> int:
    return query.per_sample // (form.heads * f.sequence_length)


def _in_half(f: Ops, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """flash-attn takes no fp32: transformers casts q, k and v with or without autocast
    (transformers/modeling_flash_attention_utils.py, `fa_peft_integration_check`)."""
    return f.to(query, HALF, "attention q"), f.to(key, HALF, "attention k"), f.to(value, HALF, "attention v")

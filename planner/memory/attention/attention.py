"""Traces each attention implementation by a function: what it allocates, saves and computes.

Queries are `[batch, heads, tokens, head_dim]`, keys and values `[batch, kv_heads, tokens, head_dim]`. Outputs
are in token order: `[batch, tokens, heads x head_dim]`.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.libraries.sdpa import SdpaKernel
from planner.memory.attention.flash import flash_2, flash_3, flex
from planner.memory.attention.fused import Form, fused
from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor
from strategies import Attention

Kernel = Callable[[Ops, Tensor, Tensor, Tensor, Form], Tensor]
"""Computes attention of query, key and value, in a model's form, with the operations of one tape."""


def masked(window: int | None, sequence_length: int) -> bool:
    """Returns whether SDPA needs a mask, because a sequence of that many tokens is at least as long as the window.

    SDPA's `is_causal` cannot express a window (transformers/masking_utils.py, `_ignore_causal_mask_sdpa`).
    """
    return window is not None and sequence_length >= window


def sdpa(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Runs the SDPA kernel that torch selects; if there is a mask or a bias, that is the memory-efficient one."""
    form = form.of_values(value)
    if form.bias is not None:
        return _with_bias(f, query, key, value, form, form.bias)
    if form.selection.batching.facts.masks_samples or masked(form.window, f.sequence_length):
        return _within_window(f, query, key, value, form)
    grouped, head_dim = form.heads != form.kv_heads, query.per_sample // (form.heads * f.sequence_length)
    itemsize, value_dim = f.autocast or query.itemsize, value.per_sample // (form.kv_heads * f.sequence_length)
    kernel = form.selection.kernel(itemsize, head_dim, grouped=grouped, value_dim=value_dim)
    if kernel is SdpaKernel.MATH:
        return f.unary(_math(f, query, key, value, form), "attention output in token order")
    if kernel is SdpaKernel.EFFICIENT:
        return _efficient(f, query, key, value, form)
    heads_first = query.heads_first  # the output has q's layout (`empty_like`), while o_proj needs tokens first
    out = _fused(f, query, key, value, form)
    return f.unary(out, "attention output in token order") if heads_first else out


def with_mask(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form, *, per_head: bool) -> Tensor:
    """Runs SDPA with a mask that the model made before its blocks.

    The mask becomes a bias in the dtype of q. Grouped heads of k and v are not repeated
    (aten/native/transformers/attention.cpp).

    Args:
        f: Operations on the tape.
        query: Queries.
        key: Keys.
        value: Values.
        form: What the model says about its attention.
        per_head: Whether the mask holds numbers for each head that are added to the scores, not booleans for all heads.
    """
    form = form.of_values(value)
    itemsize = f.autocast or query.itemsize
    fixed, per_sample = (0, form.heads * f.sequence_length**2) if per_head else (0, f.sequence_length**2)
    bias = Tensor(None, fixed, per_sample, f.sequence_length, f.mask_itemsize, None)
    if per_head:
        bias = f.to(bias, itemsize, "attention bias")
    else:
        inverted = f.tape.storage(fixed * BOOL, per_sample * BOOL)
        bias = Tensor(f.tape.storage(0, per_sample * itemsize, "attention bias"), 0, per_sample, 1, itemsize, None)
        del inverted
    if form.selection.masked_kernel(grouped=form.heads != form.kv_heads) is SdpaKernel.MATH:
        return f.unary(_math(f, query, key, value, form, bias), "attention output in token order")
    return _fused(f, query, key, value, form, bias)


def _efficient(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Runs the memory-efficient kernel without a mask.

    Its output is in token order for any layout of q (cuda/attention.cu, `_efficient_attention_forward`).
    """
    key, value = _of_all_heads(f, query, key, value, form)
    return _fused(f, query, key, value, form._replace(kv_heads=form.heads))


def _within_window(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Runs the memory-efficient kernel with a mask of booleans.

    After autocast's casts every layer makes the mask a bias in the dtype of q, and saves it
    (aten/native/transformers/attention.cpp, `convert_boolean_attn_mask`).
    """
    key, value = _of_all_heads(f, query, key, value, form)
    q, k, v = (f.autocast_input(x, f"attention {n}") for x, n in ((query, "q"), (key, "k"), (value, "v")))
    elements, itemsize = f.sequence_length**2, f.autocast or query.itemsize
    inverted = f.tape.storage(0, elements * BOOL)
    bias = Tensor(f.tape.storage(0, elements * itemsize, "attention bias"), 0, elements, elements, itemsize, None)
    del inverted
    return _fused(f, q, k, v, form._replace(kv_heads=form.heads), bias)


def _with_bias(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form, bias: Tensor) -> Tensor:
    """Runs the memory-efficient kernel with a position bias that is the same for all samples.

    The bias is made contiguous, and includes the causal mask
    (transformers/integrations/sdpa_attention.py, `create_position_bias_mask`).
    """
    if form.causal:
        allowed = f.fixed(f.sequence_length**2, BOOL, "causal mask")
        bias = f.fixed(bias.fixed, bias.itemsize, "causal attention bias", bias, saved=[allowed])
    if not bias.heads_first:
        bias = f.fixed(bias.fixed, bias.itemsize, "attention bias", bias)
    cast = f.autocast_input(bias, "attention bias in half precision")
    return _fused(f, query, key, value, form._replace(bias=None), cast)


def _of_all_heads(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """Returns k and v with their heads repeated, as transformers does for the memory-efficient kernel."""
    return _repeated(f, key, query, form, "k"), _repeated(f, value, query, form, "v")


def _repeated(f: Ops, x: Tensor, query: Tensor, form: Form, name: str) -> Tensor:
    """Repeats the heads of k or v; a single head is repeated as a view, which only autocast's cast copies."""
    is_view = form.kv_heads == 1 and f.autocast in (None, x.itemsize)
    return x if form.heads == form.kv_heads or is_view else f.broadcast(x, query.per_sample, f"attention {name}")


def _fused(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form, *extra: Tensor) -> Tensor:
    """Runs torch's flash or memory-efficient kernel, after autocast's casts.

    Backward accumulates dq in fp32 in addition to the half-precision one, keeps a sum per row and head, and, with
    grouped heads, makes dk and dv for every query head before it sums them.
    Source: torch aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, `mha_bwd`.
    """
    itemsize = f.autocast or query.itemsize
    workspace = [form.heads * f.sequence_length * FP32]
    if itemsize != FP32:
        workspace.append(query.per_sample * FP32)
    if form.heads != form.kv_heads:
        workspace += [query.per_sample * itemsize] * 2
    query, key, value = (f.autocast_input(x, f"attention {n}") for x, n in ((query, "q"), (key, "k"), (value, "v")))
    return fused(f, query, key, value, form, workspace, *extra)


def _math(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form, mask: Tensor | None = None) -> Tensor:
    """Runs SDPA's math kernel: every intermediate is allocated in fp32, and its variables live until it returns.

    Source: aten/src/ATen/native/transformers/attention.cpp, `_scaled_dot_product_attention_math`; autocast is off
    inside SDPA (ATen/autocast_mode.h).
    """
    query, key, value = (f.autocast_input(x, f"attention {n}") for x, n in ((query, "q"), (key, "k"), (value, "v")))
    given, elements, sequence = query.itemsize, query.per_sample, f.sequence_length
    scores, flops, of_values = form.heads * sequence * sequence, 2 * elements * sequence, form.value_elements
    with f.without_autocast():
        q, k, v = (f.to(x, FP32, f"attention {n} in fp32") for x, n in ((query, "q"), (key, "k"), (value, "v")))
        scaled = f.unary(q, "attention scaled q")
        _mask = mask or _causal_mask(f)
        if mask is None:
            keys, values = f.broadcast(k, elements, "attention k"), f.broadcast(v, of_values, "attention v")
            right = f.unary(keys, "attention scaled k")
        else:  # the products broadcast a single head
            keys = f.unary(k, "attention scaled k")
            right = f.broadcast(keys, elements, "attention k")
        left = scaled if scaled.heads_first else f.unary(scaled, "attention q")  # contiguous for the batched product
        weights = f.matmul(left, right, scores, sequence, flops, "attention scores")
        del left, right
        if mask is not None:
            del keys  # a temporary of the product's own expression; a repeated key is a variable
        weights = _safe_softmax(f, weights)
        weights = f.dropout(weights, form.dropout, "attention dropout")
        _returned = f.to(weights.constant(FP32), given, "attention probabilities")  # the second result
        if mask is not None:
            values = f.broadcast(v, of_values, "attention v")
        out = f.matmul(weights, values, of_values, of_values // sequence, 2 * of_values * sequence, "attention output")
        return f.to(out, given, "attention output")


def _causal_mask(f: Ops) -> Storage:
    """Makes a causal mask: ones, their lower triangle, and the fp32 numbers that are added to the scores in place."""
    elements = f.sequence_length**2
    ones = f.tape.storage(elements * BOOL, 0)
    lower = f.tape.storage(elements * BOOL, 0)
    del ones
    mask = f.tape.storage(elements * FP32, 0, "attention mask")
    del lower
    return mask


def _safe_softmax(f: Ops, scores: Tensor) -> Tensor:
    """Computes a softmax and a copy of it with zeros in fully masked rows (attention.cpp, `_safe_softmax`)."""
    _temporaries = [f.tape.storage(0, scores.per_sample * size) for size in (FP32, BOOL)]
    return f.softmax(scores, FP32)


def eager(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes `softmax(q @ k.T * scale + mask) @ v` with every intermediate.

    Source: transformers, `eager_attention_forward`.
    """
    sequence, keys = f.sequence_length, form.keys or f.sequence_length
    of_keys, of_values = (x.per_sample // form.kv_heads * form.heads for x in (key, value))
    given = value.itemsize if form.fp32 or not form.upcast else query.itemsize
    if form.fp32:
        query, key = f.to(query, FP32, "attention q in fp32"), f.to(key, FP32, "attention k in fp32")
    scores = form.heads * sequence * keys
    flops = 2 * query.per_sample * keys
    # q, k and v are transposed views. Each is made contiguous for the batched product; repeating heads does so, too.
    if not query.heads_first:
        query = f.unary(query, "attention q")
    if not key.heads_first or form.heads != form.kv_heads:
        key = f.broadcast(key, of_keys, "attention k")
    value = f.broadcast(value, of_values, "attention v")
    weights = f.matmul(query, key, scores, keys, flops, "attention scores")
    # The variables `key_states` and `value_states` refer to repeated heads until the function returns.
    _repeated = (key, value) if form.heads != form.kv_heads else ()
    del query, key
    weights = f.unary(weights, "attention scaled scores")
    if form.capped:
        weights = f.cap(weights, "attention capped scores")
    if form.bias is not None:
        weights = f.add(weights, form.bias, "attention biased scores")
    if form.causal:
        weights = f.add(weights, weights.constant(f.mask_itemsize), "attention masked scores")
    softmax = FP32 if form.upcast or form.fp32 or f.autocast is not None else given
    probabilities = f.softmax(weights, softmax)  # the scores live until these are cast
    weights = f.to(probabilities, given, "attention probabilities") if form.downcast else probabilities
    del probabilities
    weights = f.dropout(weights, form.dropout, "attention dropout")
    out_elements, width = of_values * sequence // keys, of_values // keys
    out = f.matmul(weights, value, out_elements, width, 2 * of_values * sequence, "attention output")
    f.probabilities = weights.storage
    del weights, value
    return f.unary(out, "attention output")


KERNELS: dict[Attention, Kernel] = {
    Attention.EAGER: eager,
    Attention.SDPA: sdpa,
    Attention.SDPA_EFFICIENT: sdpa,
    Attention.FLASH_2: flash_2,
    Attention.FLASH_3: flash_3,
    Attention.FLEX: flex,
}
"""The function of each attention implementation."""

"""Traces eager attention as some modeling files of transformers write it, with every intermediate and local."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.libraries.sdpa import Selection
from planner.memory.attention import fused as fused_attention
from planner.memory.autograd.in_place import scale_
from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.models.architecture import INT64
from planner.models.vocabulary.forms import OwnAttention


class Form(NamedTuple):
    """Describes the attention of a model whose modeling file writes it itself."""

    heads: int
    """Query heads."""
    kv_heads: int
    """Heads of keys and values; fewer than `heads` if they are grouped."""
    dropout: float
    """Probability with which attention weights are dropped."""
    sinks: Tensor | None
    """A parameter with one number per head, or None."""

    def usual(self, selection: Selection) -> fused_attention.Form:
        """Returns the form of the same attention for SDPA, whose kernel `selection` selects."""
        heads, kv_heads = self.heads, self.kv_heads
        return fused_attention.Form(heads, kv_heads, self.dropout, True, False, None, False, selection=selection)


Written = Callable[[Ops, Tensor, Tensor, Tensor, Form], Tensor]
"""Computes attention of query, key and value, in a model's form, with the operations of one tape."""


class _Sizes(NamedTuple):
    """Holds sizes of the two matrix products, `q @ k.T` and `weights @ v`, per sample."""

    elements: int
    """Elements of the queries."""
    scores: int
    """Elements of the scores."""
    flops: int
    """FLOPs of either product."""

    @classmethod
    def of(cls, f: Ops, query: Tensor, form: Form) -> _Sizes:
        elements, sequence = query.per_sample, f.sequence_length
        return cls(elements, form.heads * sequence**2, 2 * elements * sequence)


def _scores(f: Ops, query: Tensor, key: Tensor, form: Form) -> Tensor:
    """Computes `q @ k.T`, both made contiguous for the batched product."""
    sizes = _Sizes.of(f, query, form)
    query = query if query.heads_first else f.unary(query, "attention q")
    if not key.heads_first or form.heads != form.kv_heads:
        key = f.broadcast(key, sizes.elements, "attention k")
    return f.matmul(query, key, sizes.scores, f.sequence_length, sizes.flops, "attention scores")


def _output(f: Ops, weights: Tensor, value: Tensor, query: Tensor, form: Form) -> Tensor:
    """Computes `weights @ v` and puts it back into token order."""
    sizes = _Sizes.of(f, query, form)
    value = f.broadcast(value, sizes.elements, "attention v")
    width = sizes.elements // f.sequence_length
    out = f.matmul(weights, value, sizes.elements, width, sizes.flops, "attention output")
    f.probabilities = weights.storage
    return f.unary(out, "attention output")


def _masked(f: Ops, scores: Tensor) -> Tensor:
    """Adds the causal mask, which widens the scores if it is wider."""
    return f.add(scores, scores.constant(f.mask_itemsize), "attention masked scores")


def _scaled_in_place(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes Falcon's attention without ALiBi: the scores are divided in place.

    The softmax has the dtype of the hidden states, which is fp32 after a LayerNorm under autocast
    (modeling_falcon.py, FalconAttention).
    """
    scores = scale_(f, _scores(f, query, key, form))
    scores = f.softmax(_masked(f, scores), FP32 if f.autocast else query.itemsize)
    return _output(f, scores, value, query, form)


def _alibi_in_fp32(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes Falcon's attention with ALiBi, which is added in fp32 and scaled in place (modeling_falcon.py).

    The mask contains ALiBi a second time.
    """
    product = _scores(f, query, key, form)
    scores = f.to(product, FP32, "attention scores in fp32")
    logits = scale_(f, f.add(scores, scores.constant(f.mask_itemsize), "attention scores with ALiBi"))
    weights = f.softmax(_masked(f, logits), FP32 if f.autocast else query.itemsize)
    weights = f.dropout(weights, form.dropout, "attention dropout")
    return _output(f, weights, value, query, form)


def _alibi_in_product(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes BLOOM's attention: `baddbmm` adds ALiBi to the product of q and k (modeling_bloom.py, BloomAttention).

    Left out are the scaled copies of the gradients of q and k, which backward makes one after the other.
    """
    sizes, itemsize = _Sizes.of(f, query, form), query.itemsize
    scores = f.matmul(query, key, sizes.scores, f.sequence_length, sizes.flops, "attention scores")
    masked = _masked(f, scores)
    weights = f.to(f.softmax(masked, FP32), itemsize, "attention probabilities")
    weights = f.dropout(weights, form.dropout, "attention dropout")
    width = sizes.elements // f.sequence_length
    out = f.matmul(weights, value, sizes.elements, width, sizes.flops, "attention output")
    f.probabilities = weights.storage
    return f.unary(out, "attention output")


def _alibi_added(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes MPT's attention (modeling_mpt.py, MptAttention).

    ALiBi is made in fp32, so the scores are in fp32 once it is added; `masked_fill` saves the mask of booleans.
    """
    itemsize = value.itemsize
    scores = f.unary(_scores(f, query, key, form), "attention scaled scores")
    scores = f.add(scores, scores.constant(FP32), "attention scores with ALiBi")
    scores = f.unary(scores, "attention masked scores")
    weights = f.to(f.softmax(scores, FP32), itemsize, "attention probabilities")
    weights = f.dropout(weights, form.dropout, "attention dropout")
    return _output(f, weights, value, query, form)


def _sinks(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes gpt-oss's attention, with a softmax over the scores of a row and one sink.

    Source: modeling_gpt_oss.py, `eager_attention_forward`.
    """
    assert form.sinks is not None
    sizes, itemsize = _Sizes.of(f, query, form), value.itemsize
    key = f.broadcast(key, sizes.elements, "attention k")
    value = f.broadcast(value, sizes.elements, "attention v")
    query = query if query.heads_first else f.unary(query, "attention q")
    weights = f.matmul(query, key, sizes.scores, f.sequence_length, sizes.flops, "attention scores")
    weights = f.unary(weights, "attention scaled scores")
    weights = _masked(f, weights)
    combined = f.cat([weights, _expanded(f, form.sinks)], "attention scores with sinks")
    combined = _less_maximum(f, combined)
    probabilities = f.softmax(combined, combined.itemsize)
    kept, _sink = f.slices(probabilities, [f.sequence_length, 1])
    weights = f.dropout(kept, form.dropout, "attention dropout")
    weights = f.to(weights, itemsize, "attention probabilities")
    width = sizes.elements // f.sequence_length
    out = f.matmul(weights, value, sizes.elements, width, sizes.flops, "attention output")
    f.probabilities = weights.storage
    return f.unary(out, "attention output")


def _expanded(f: Ops, sinks: Tensor) -> Tensor:
    """Returns the sinks expanded, as a view, to one for every row of scores."""
    variable = Variable() if sinks.variable is not None else None
    out = Tensor(None, 0, sinks.fixed * f.sequence_length, 1, sinks.itemsize, variable)
    return f.differentiate(out, f.own_targets(sinks))


def _less_maximum(f: Ops, x: Tensor) -> Tensor:
    """Computes `x - x.max(-1)`, which saves the index of each row's maximum.

    Backward scatters the gradient of the maximum into zeros as large as x.
    """
    rows, size = x.per_sample // x.width, x.per_sample * x.itemsize
    largest = f.tape.storage(0, rows * x.itemsize)
    indices = Tensor(f.tape.storage(0, rows * INT64, "where the largest scores are"), 0, rows, 1, INT64, None)
    saved = [f.tape.save(indices)] if x.variable is not None else []
    out = f.tensor(x.per_sample, x.width, x.itemsize, "attention scores below their largest", x)
    del largest
    if out.variable is not None and x.variable is not None:
        variable = x.variable

        def backward(gradient: Storage) -> None:
            tape = f.tape
            negative = tape.storage(0, size)
            tape.accumulate(variable, gradient)
            del negative
            tape.cost.bytes_per_sample += 5 * size
            tape.accumulate(variable, tape.storage(0, size))

        f.tape.record(out.variable, backward, *saved)
    return out


FORMS: dict[OwnAttention, Written] = {
    "scaled_in_place": _scaled_in_place,
    "alibi_in_fp32": _alibi_in_fp32,
    "alibi_in_product": _alibi_in_product,
    "alibi_added": _alibi_added,
    "sinks": _sinks,
}
"""The function of each form."""

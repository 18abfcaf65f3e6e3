"""Eager attention as some modeling files write it themselves, each with every intermediate and local variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.libraries.sdpa import Selection
from planner.memory.attention import fused as fused_attention
from planner.memory.autograd.elementwise import scale_
from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.models.architecture import INT64
from planner.models.forward import OwnAttention


class Form(NamedTuple):
    """What a model says about its attention. `sinks`: a parameter, of one number for each head."""

    heads: int
    kv_heads: int
    dropout: float
    sinks: Tensor | None

    def usual(self, selection: Selection) -> fused_attention.Form:
        """The same for SDPA."""
        heads, kv_heads = self.heads, self.kv_heads
        return fused_attention.Form(heads, kv_heads, self.dropout, True, False, None, False, selection=selection)


Written = Callable[[Ops, Tensor, Tensor, Tensor, Form], Tensor]


class _Sizes(NamedTuple):
    """Of the two products: elements of the scores, and FLOPs."""

    elements: int
    scores: int
    flops: int

    @classmethod
    def of(cls, f: Ops, query: Tensor, form: Form) -> _Sizes:
        elements, sequence = query.per_sample, f.sequence_length
        return cls(elements, form.heads * sequence**2, 2 * elements * sequence)


def _scores(f: Ops, query: Tensor, key: Tensor, form: Form) -> Tensor:
    """`q @ k.T`, both made contiguous for the batched product."""
    sizes = _Sizes.of(f, query, form)
    query = query if query.heads_first else f.unary(query, "attention q")
    if not key.heads_first or form.heads != form.kv_heads:
        key = f.broadcast(key, sizes.elements, "attention k")
    return f.matmul(query, key, sizes.scores, f.sequence_length, sizes.flops, "attention scores")


def _output(f: Ops, weights: Tensor, value: Tensor, query: Tensor, form: Form) -> Tensor:
    """`weights @ v`, put back into token order."""
    sizes = _Sizes.of(f, query, form)
    value = f.broadcast(value, sizes.elements, "attention v")
    width = sizes.elements // f.sequence_length
    out = f.matmul(weights, value, sizes.elements, width, sizes.flops, "attention output")
    f.probabilities = weights.storage
    return f.unary(out, "attention output")


def _masked(f: Ops, scores: Tensor) -> Tensor:
    return f.add(scores, scores.constant(f.mask_itemsize), "attention masked scores")


def _scaled_in_place(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """`scores /= c`, and a softmax in the dtype of the hidden states, which is fp32 behind autocast's LayerNorm
    (modeling_falcon.py, FalconAttention)."""
    scores = scale_(f, _scores(f, query, key, form))
    scores = f.softmax(_masked(f, scores), FP32 if f.autocast else query.itemsize)
    return _output(f, scores, value, query, form)


def _alibi_in_fp32(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """ALiBi added in fp32, scaled in place; the mask has ALiBi in it once more (modeling_falcon.py)."""
    product = _scores(f, query, key, form)
    scores = f.to(product, FP32, "attention scores in fp32")
    logits = scale_(f, f.add(scores, scores.constant(f.mask_itemsize), "attention scores with ALiBi"))
    weights = f.softmax(_masked(f, logits), FP32 if f.autocast else query.itemsize)
    weights = f.dropout(weights, form.dropout, "attention dropout")
    return _output(f, weights, value, query, form)


def _alibi_in_product(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """`baddbmm` of ALiBi, q and k (modeling_bloom.py, BloomAttention). Left out: copies of the gradients of q and k,
    made one after the other, in which they are scaled."""
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
    """fp32 from ALiBi on, which is made in it; `masked_fill` keeps the mask (modeling_mpt.py, MptAttention)."""
    itemsize = value.itemsize
    scores = f.unary(_scores(f, query, key, form), "attention scaled scores")
    scores = f.add(scores, scores.constant(FP32), "attention scores with ALiBi")
    scores = f.unary(scores, "attention masked scores")
    weights = f.to(f.softmax(scores, FP32), itemsize, "attention probabilities")
    weights = f.dropout(weights, form.dropout, "attention dropout")
    return _output(f, weights, value, query, form)


def _sinks(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """A softmax over the scores of a row, and of one sink (modeling_gpt_oss.py, `eager_attention_forward`)."""
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
    """A sink for every row of scores, as a view."""
    variable = Variable() if sinks.variable is not None else None
    out = Tensor(None, 0, sinks.fixed * f.sequence_length, 1, sinks.itemsize, variable)
    return f.differentiate(out, f.own_targets(sinks))


def _less_maximum(f: Ops, x: Tensor) -> Tensor:
    """`x - x.max(-1)`: keeps where the largest were; its own gradient is scattered into zeros."""
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

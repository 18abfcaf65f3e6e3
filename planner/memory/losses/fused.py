"""Losses that multiply by the head's weight themselves: from hidden states to a scalar, without the whole logits.

How many logits there are at once is no line in the micro-batch, but a step: it is given as a number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.libraries.liger_kernel import chunk_tokens as liger_chunk
from planner.libraries.trl import TILE_TOKENS, TILE_WORDS
from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.models.architecture import INT64
from strategies import Loss


class Chunk(NamedTuple):
    """Logits that exist at once."""

    tokens: int | None
    """None: of all tokens."""
    adds_in_place: bool = True
    """Whether cuBLAS adds a product of halves to a gradient in its place, as liger-kernel lets it from compute
    capability 8.0 on."""

    def bytes(self, sequence_length: int, row_bytes: int) -> tuple[int, int]:
        """Fixed and per sample."""
        return (0, sequence_length * row_bytes) if self.tokens is None else (self.tokens * row_bytes, 0)


def chunk_tokens(loss: Loss, tokens: int, hidden_size: int, vocab_size: int) -> int | None:
    """Of how many of all `tokens` of a micro-batch there are logits at once; None: of all."""
    chunk = tokens
    if loss is Loss.LIGER_FUSED_LINEAR:
        chunk = liger_chunk(tokens, hidden_size, vocab_size)
    elif loss is Loss.CHUNKED:
        chunk = TILE_TOKENS
    return chunk if chunk < tokens else None


def liger(f: Ops, chunk: Chunk, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Liger's `LigerFusedLinearCrossEntropyFunction`: makes the gradients of hidden states and weight in forward, and
    saves nothing else.

    A chunk's logits become their own gradient in place. Where hidden states and weight have the dtype of the product,
    logits go into one buffer; under autocast the chunk, and the weight twice, are cast first: its transposed view at
    each product, itself once, for the cache.
    """
    tape, tokens, words = f.tape, f.sequence_length, weight.fixed // x.width
    half = f.autocast or x.itemsize
    _labels = [tape.storage(0, (tokens + 1) * INT64), tape.storage(0, tokens * INT64, "shifted labels")]
    of_x = tape.storage(0, x.per_sample * x.itemsize, "gradient of hidden states")
    of_weight = tape.storage(weight.fixed * weight.itemsize, 0, "gradient of the head") if weight.variable else None
    _losses = [tape.storage(0, tokens * FP32), tape.storage(0, tokens * BOOL)]
    in_buffer = x.itemsize == weight.itemsize == half
    adds = chunk.adds_in_place and half != FP32

    def rows(width: int) -> Storage:
        return tape.storage(*chunk.bytes(tokens, width * half))

    def add_to_weight() -> None:
        if adds:
            _cast = rows(x.width) if x.itemsize != half else None
            return
        product = tape.storage(weight.fixed * half, 0)
        _float = tape.storage(weight.fixed * FP32, 0) if half != FP32 else product

    buffer = rows(words) if in_buffer else None
    for _ in range(1 if chunk.tokens is None else 2):  # the weight's copies make the second chunk's peak
        if in_buffer:
            if of_weight:
                add_to_weight()
            continue
        casts = [rows(x.width)] if x.itemsize != half else []
        if weight.itemsize != half:
            casts.append(tape.storage(weight.fixed * half, 0))
        logits = rows(words)
        casts.clear()
        cast = f.autocast_weight(weight, "head's weight")
        product = rows(x.width)
        del product, cast
        if of_weight:
            add_to_weight()
        del logits
    del buffer
    products = 2 + bool(of_weight)
    f.multiply(half, products * 2 * x.per_sample * words)
    loss = f.tensor(1, 1, FP32, "loss")
    loss.variable = Variable()
    kept = [(x.variable, of_x), (weight.variable, of_weight)]
    saved = [tape.save(Tensor(s, 0, 0, 0, 0, None)) for _, s in kept if s]

    def backward(gradient: Storage) -> None:
        while kept:
            variable, storage = kept.pop()
            if variable and storage:
                tape.accumulate(variable, storage)

    tape.record(loss.variable, backward, *saved)
    return loss


def chunked(f: Ops, chunk: Chunk, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """TRL's `ChunkedLogProbFunction` on those hidden states that have a label, all but the last of each sequence."""
    chosen = _with_labels(f, x)
    tape, tokens, elements, width = f.tape, f.sequence_length - 1, chosen.per_sample, x.width
    half, itemsize, words = f.autocast or x.itemsize, x.itemsize, weight.fixed // width
    labels = Tensor(tape.storage(0, tokens * INT64, "labels"), 0, tokens, 1, INT64, None)
    statistics = [tape.storage(0, tokens * FP32) for _ in range(7)]

    def tile() -> None:
        """A buffer of logits, and casts of its rows and of its words."""
        sizes = [chunk.bytes(tokens, TILE_WORDS * half)]
        if itemsize != half:
            sizes.append(chunk.bytes(tokens, width * half))
        if weight.itemsize != half:
            sizes.append((min(TILE_WORDS, words) * width * half, 0))
        _made = [tape.storage(*size) for size in sizes]

    tile()
    log_sum_exp = Tensor(tape.storage(0, tokens * FP32, "log-sum-exp"), 0, tokens, 1, FP32, None)
    statistics.clear()
    flops = 2 * elements * words
    f.multiply(half, flops)
    loss = f.tensor(1, 1, FP32, "loss")
    loss.variable = Variable()
    saved = [tape.save(t) for t in (chosen, labels, log_sum_exp)]
    to_x, to_weight, to_bias = chosen.variable, weight.variable, bias.variable if bias else None
    of_bias_size = words * weight.itemsize
    weights, weight_itemsize = weight.fixed, weight.itemsize
    del chosen, labels, log_sum_exp

    def backward(gradient: Storage) -> None:
        """Sums both gradients in fp32."""
        f.multiply(half, flops * (2 + (to_weight is not None)))
        of_x = tape.storage(0, elements * FP32)
        sums = tape.storage(weights * FP32, 0) if to_weight else None
        tile()
        cast = of_x if itemsize == FP32 else tape.storage(0, elements * itemsize)
        of_weight = sums if sums is None or weight_itemsize == FP32 else tape.storage(weights * weight_itemsize, 0)
        of_bias = tape.storage(of_bias_size, 0) if to_bias else None
        del of_x, sums
        for variable, made in ((to_weight, of_weight), (to_bias, of_bias), (to_x, cast)):
            if variable is not None and made is not None:
                tape.accumulate(variable, made)

    tape.record(loss.variable, backward, *saved)
    return loss


def _with_labels(f: Ops, x: Tensor) -> Tensor:
    """`x[:, :-1][mask]` (trl/trainer/utils.py, `add_fused_lm_head`): a slice, whose gradient is put into zeros, and a
    copy of what the mask selects, which it is turned into positions for, in forward and in backward."""
    tape, tokens = f.tape, f.sequence_length - 1
    mask = Tensor(tape.storage(0, tokens * BOOL, "mask of labels"), 0, tokens, 1, BOOL, None)
    positions = tape.storage(0, 2 * tokens * INT64)
    elements, of_rows, of_chosen, of_x = tokens * x.width, Variable(), Variable(), x.variable
    size, whole = elements * x.itemsize, x.per_sample * x.itemsize
    storage = tape.storage(0, size, "hidden states with labels")
    del positions

    def into_zeros(gradient: Storage) -> None:
        if of_x is not None:
            tape.accumulate(of_x, tape.storage(0, whole))

    def put_back(gradient: Storage) -> None:
        made = tape.storage(0, size)
        _positions = tape.storage(0, 2 * tokens * INT64)
        tape.accumulate(of_rows, made)

    tape.record(of_rows, into_zeros)
    tape.record(of_chosen, put_back, tape.save(mask))
    return Tensor(storage, 0, elements, x.width, x.itemsize, of_chosen)


FUSED: dict[Loss, Callable[[Ops, Chunk, Tensor, Tensor, Tensor | None], Tensor]] = {
    Loss.LIGER_FUSED_LINEAR: liger,
    Loss.CHUNKED: chunked,
}

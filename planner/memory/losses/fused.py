"""Traces losses that multiply by the head's weight themselves: hidden states to a scalar, without all logits.

The number of logits that exist at once grows with the micro-batch in steps, not as a line, so it is given in tokens.
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
    """Describes the logits that exist at once."""

    tokens: int | None
    """Tokens whose logits exist at once; None for all tokens of the micro-batch."""
    adds_in_place: bool = True
    """Whether cuBLAS adds a half-precision product to a gradient in place (liger-kernel: compute capability >= 8.0)."""

    def bytes(self, sequence_length: int, row_bytes: int) -> tuple[int, int]:
        """Returns the (fixed, per-sample) bytes of a tensor with one row of `row_bytes` for each token of a chunk."""
        return (0, sequence_length * row_bytes) if self.tokens is None else (self.tokens * row_bytes, 0)


def chunk_tokens(loss: Loss, tokens: int, hidden_size: int, vocab_size: int) -> int | None:
    """Returns how many tokens of a micro-batch have logits at once, or None for all of them.

    Args:
        loss: The loss.
        tokens: All tokens of the micro-batch.
        hidden_size: Width of the hidden states.
        vocab_size: Number of logits per token.
    """
    chunk = tokens
    if loss is Loss.LIGER_FUSED_LINEAR:
        chunk = liger_chunk(tokens, hidden_size, vocab_size)
    elif loss is Loss.CHUNKED:
        chunk = TILE_TOKENS
    return chunk if chunk < tokens else None


def liger(f: Ops, chunk: Chunk, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Computes Liger's `LigerFusedLinearCrossEntropyFunction`.

    It makes the gradients of hidden states and weight in forward, and saves nothing else. A chunk's logits are
    overwritten with their gradient. If hidden states and weight have the dtype of the product, all chunks share one
    buffer for logits. Under autocast the chunk is cast first, and the weight twice: its transposed view for each
    product, and the weight itself once, for autocast's cache.

    Args:
        f: Operations on the tape.
        chunk: The logits that exist at once.
        x: Hidden states, `[batch, tokens, hidden_size]`.
        weight: Weight of the head, `[vocab_size, hidden_size]`.
        bias: Not used.

    Returns:
        The loss, a scalar that is counted as one element per sample.
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
        """Allocates `width` elements for each token of a chunk, in the dtype of the product."""
        return tape.storage(*chunk.bytes(tokens, width * half))

    def add_to_weight() -> None:
        """Adds a chunk's product to the gradient of the weight."""
        if adds:
            _cast = rows(x.width) if x.itemsize != half else None
            return
        product = tape.storage(weight.fixed * half, 0)
        _float = tape.storage(weight.fixed * FP32, 0) if half != FP32 else product

    buffer = rows(words) if in_buffer else None
    for _ in range(1 if chunk.tokens is None else 2):  # the second chunk is the peak, because of the weight's copies
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
    """Computes TRL's `ChunkedLogProbFunction` on hidden states with a label, all but the last of each sequence.

    Args:
        f: Operations on the tape.
        chunk: The logits that exist at once, which come in tiles of tokens and words.
        x: Hidden states, `[batch, tokens, hidden_size]`.
        weight: Weight of the head, `[vocab_size, hidden_size]`.
        bias: Bias of the head, or None.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    chosen = _with_labels(f, x)
    tape, tokens, elements, width = f.tape, f.sequence_length - 1, chosen.per_sample, x.width
    half, itemsize, words = f.autocast or x.itemsize, x.itemsize, weight.fixed // width
    labels = Tensor(tape.storage(0, tokens * INT64, "labels"), 0, tokens, 1, INT64, None)
    statistics = [tape.storage(0, tokens * FP32) for _ in range(7)]

    def tile() -> None:
        """Allocates what one tile needs: a buffer of logits, and the cast rows of hidden states and of the weight."""
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
        """Sums the gradients of hidden states and weight in fp32, and casts the sums."""
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
    """Selects the hidden states that have a label: `x[:, :-1][mask]` (trl/trainer/utils.py, `add_fused_lm_head`).

    Backward writes the gradient of the slice into zeros. Indexing copies what the mask selects; it turns the mask into
    positions first, in forward and in backward.
    """
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


def _cut(f: Ops, _: Chunk, x: Tensor, weight: Tensor, __: Tensor | None) -> Tensor:
    from planner.memory.losses.cut import cut

    return cut(f, x, weight)


FUSED: dict[Loss, Callable[[Ops, Chunk, Tensor, Tensor, Tensor | None], Tensor]] = {
    Loss.LIGER_FUSED_LINEAR: liger,
    Loss.CHUNKED: chunked,
    Loss.CUT_CROSS_ENTROPY: _cut,
}
"""The function of each loss that makes its own logits."""

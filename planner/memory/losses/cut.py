"""The account of Apple's cut cross-entropy: logits exist in the registers of a kernel alone, a block at a time.

Source: github.com/apple/ml-cross-entropy d42911f, cut_cross_entropy/cce.py, cce_lse_forward.py, cce_backward.py,
indexed_dot.py, utils.py, with the defaults of transformers/patch.py (filter_eps "auto", no sums in fp32). Axolotl's
fork, 5f0c7a7, allocates the same where hidden states and head are in half precision, without which it refuses to run.
It is restated from there: the kernels are Triton's.
"""

from __future__ import annotations

from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.models.architecture import INT64

_INT32 = 4
_ROWS_OF_A_LOCK, _COLUMNS_OF_A_LOCK = 128, 64
"""Rows and columns of a gradient that share a lock (cce_lse_forward.py, cce_backward.py)."""


def cut(f: Ops, x: Tensor, weight: Tensor) -> Tensor:
    """Computes `LinearCrossEntropyFunction` on the positions with a label, all but the last of each sequence.

    Forward keeps the log-sum-exp of each position and the mean logit of each word. Backward makes each block of logits
    again, and sums the gradients of hidden states and weight in the dtype of the product. Under autocast both factors
    are cast outside of its cache, and the casts are saved. Blocks whose gradient rounds to nothing are skipped on a
    GPU; how many depends on the data, so FLOPs are those of all blocks.

    Args:
        f: Operations on the tape.
        x: Hidden states, `[batch, tokens, hidden_size]`.
        weight: Weight of the head, `[vocab_size, hidden_size]`.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    tape, tokens, width = f.tape, f.sequence_length - 1, x.width
    half, words = f.autocast or x.itemsize, weight.fixed // width
    valids = _positions(f, tokens)
    rows = x if x.itemsize == half else Tensor(tape.storage(0, x.per_sample * half), 0, x.per_sample, width, half, None)
    heads = []
    if weight.itemsize != half:
        heads.append(Tensor(tape.storage(weight.fixed * half, 0), weight.fixed, 0, width, half, None))
    log_sum_exp = Tensor(tape.storage(0, tokens * FP32, "log-sum-exp"), 0, tokens, 1, FP32, None)
    _locks = tape.storage(0, -(-tokens // _ROWS_OF_A_LOCK) * _INT32)
    means = Tensor(tape.storage(words * FP32, 0, "mean logits"), words, 0, 1, FP32, None)
    del _locks
    likelihood = tape.storage(0, tokens * FP32)
    flops = 2 * tokens * width * words
    f.multiply(half, flops)
    loss = f.tensor(1, 1, FP32, "loss")
    loss.variable = Variable()
    saved = [tape.save(t) for t in (rows, *heads, log_sum_exp, valids, means)]
    to_x, to_weight = x.variable, weight.variable
    elements, itemsize, weights, weight_itemsize = x.per_sample, x.itemsize, weight.fixed, weight.itemsize
    del likelihood, rows, heads, log_sum_exp, valids, means

    def backward(gradient: Storage) -> None:
        f.multiply(half, flops * (1 + (to_x is not None) + (to_weight is not None)))
        order = _order(f, words)
        of_x = tape.storage(0, elements * half) if to_x else None
        of_weight = tape.storage(weights * half, 0) if to_weight else None
        columns = -(-width // _COLUMNS_OF_A_LOCK) * _INT32
        locks = [tape.storage(0, -(-tokens // _ROWS_OF_A_LOCK) * columns)] if to_x else []
        if to_weight:
            locks.append(tape.storage(-(-words // _ROWS_OF_A_LOCK) * columns, 0))
        locks.clear()
        if of_weight and weight_itemsize != half:
            of_weight = tape.storage(weights * weight_itemsize, 0)
        if of_x and itemsize != half:
            of_x = tape.storage(0, elements * itemsize)
        del order
        for variable, made in ((to_weight, of_weight), (to_x, of_x)):
            if variable is not None and made is not None:
                tape.accumulate(variable, made)

    tape.record(loss.variable, backward, *saved)
    return loss


def _positions(f: Ops, tokens: int) -> Tensor:
    """Makes the positions that have a label, flat: `_build_flat_valids` by a mask, two columns of int64 and int32."""
    tape = f.tape
    mask = tape.storage(0, tokens * BOOL)
    found = tape.storage(0, 2 * tokens * INT64)
    del mask
    short = tape.storage(0, 2 * tokens * _INT32)
    del found
    flat = Tensor(tape.storage(0, tokens * INT64, "positions of labels"), 0, tokens, 1, INT64, None)
    del short
    return flat


def _order(f: Ops, words: int) -> Storage:
    """Sorts the words by their mean logit: values and int64 indices, of which an int32 copy stays."""
    _values, _indices = f.tape.storage(words * FP32, 0), f.tape.storage(words * INT64, 0)
    return f.tape.storage(words * _INT32, 0)

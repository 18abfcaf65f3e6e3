"""Implements the pooling of tokens to an embedding of their sentence on symbolic tensors.

Source: sentence-transformers 6.2, sentence_transformer/modules/pooling.py, `_forward_padded`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tensor
from planner.models.vocabulary.pooling import PoolingMode


def mean(f: Ops, x: Tensor) -> Tensor:
    """Returns the mean of each sentence's tokens, as a masked sum in fp32 that is divided.

    The gradient of the sum is a view, and its product with the mask is that of the tokens.

    Args:
        f: Operations on the tape.
        x: Embeddings of tokens, `[tokens, width]` per sample.
    """
    mask = f.tensor(f.sequence_length, 1, x.itemsize, "mask of tokens")
    saved = [f.tape.save(mask)] if x.variable is not None else []
    masked = f.tensor(x.per_sample, x.width, x.itemsize, "masked tokens", x)
    sums = f.tensor(x.width, x.width, FP32, "sum of tokens", masked)
    del masked
    sums = f.differentiate(sums, f.own_targets(x), saved)
    return f.to(sums, x.itemsize, "sentence embedding")


def first(f: Ops, x: Tensor) -> Tensor:
    """Returns a copy of the first token's embedding; its gradient is zero-filled, as large as x (`gather_backward`)."""
    out = f.tensor(x.width, x.width, x.itemsize, "sentence embedding", x)
    return f.differentiate(out, f.own_targets(x))


MODES: Mapping[PoolingMode, Callable[[Ops, Tensor], Tensor]] = {"mean": mean, "cls": first}

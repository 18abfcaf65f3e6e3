"""Traces the loss of fms-acceleration's Triton kernel within the loss of earlier transformers.

It takes the place of the log-softmax and the likelihood of `--loss transformers-4.48` and `transformers-4.45`: logits
are cast and shifted all the same. What an allocator reserves for it depends on the order of its requests, which is
here.
"""

from __future__ import annotations

from published.libraries.then import version

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.losses.earlier import without_last
from planner.memory.tracing.implementations import Implementations
from planner.models.architecture import INT64, Objective
from strategies import Loss

CASTS_IN_LOSS, PADS_LABELS = (4, 46), (4, 49)
"""First versions of transformers whose loss function casts logits to fp32 itself, and shifts no copy of them."""


def loss_of(transformers: str) -> Loss:
    """Returns the choice that names the loss on logits of a version of transformers, as in "4.48.1"."""
    if (numbers := version(transformers)) >= PADS_LABELS:
        return Loss.FULL
    return Loss.TRANSFORMERS_4_48 if numbers >= CASTS_IN_LOSS else Loss.TRANSFORMERS_4_45


def triton(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Computes the Triton cross-entropy, which saves the shifted logits and overwrites them by their gradient.

    Source: fms_acceleration_foak, kernels/unsloth/cross_entropy_loss.py.

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`.
        objective: Not used: all runs train causal language models.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    tape, tokens = f.tape, f.sequence_length
    raised = f.to(logits, FP32, "logits in fp32")
    shifted = without_last(f, raised)
    labels = Tensor(tape.storage(0, tokens * INT64, "shifted labels"), 0, tokens, 1, INT64, None)
    _losses = tape.storage(0, tokens * FP32)
    sums = Tensor(tape.storage(0, tokens * FP32, "log-sum-exp"), 0, tokens, 1, FP32, None)
    loss = f.tensor(1, 1, FP32, "loss", shifted)
    kept, variable = [shifted.storage], shifted.variable

    def backward(gradient: Storage) -> None:
        storage = kept.pop()
        assert storage is not None
        if variable is not None:
            tape.accumulate(variable, storage)

    if loss.variable is not None:
        tape.record(loss.variable, backward, *(tape.save(t) for t in (shifted, sums, labels)))
    return loss


def with_triton(today: Implementations) -> Implementations:
    """Returns implementations in which the losses of earlier transformers are the Triton cross-entropy."""
    return today._replace(losses={**today.losses, **{loss: triton for loss in Loss if loss.is_earlier}})

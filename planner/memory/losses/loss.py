"""One function per loss: from logits to a scalar."""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.models.architecture import INT64, Objective
from strategies import Loss


def full(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """transformers' `ForCausalLMLoss`: logits in fp32, log-softmax, negative log-likelihood of the labels.

    Backward makes the gradient of the log-softmax, then that of the logits, both as large as the logits in fp32.
    The labels, shifted, are int64; the caller's own logits live until the loss has been computed. Other losses take
    labels as they are, and make the log-softmax in the logits' dtype, of which autocast makes an fp32 copy for the
    likelihood (ATen/autocast_mode.h, `fp32_set_opt_dtype`).
    """
    if objective != "next_token":
        log_softmax = f.unary(logits, "log-softmax", saves="output")
        if f.autocast is not None:
            log_softmax = f.to(log_softmax, FP32, "log-softmax in fp32")
        loss = f.tensor(1, 1, log_softmax.itemsize, "loss", log_softmax)
        return f.differentiate(loss, f.own_targets(log_softmax), [f.tape.save(log_softmax)])
    upcast = f.to(logits, FP32, "logits in fp32")
    tokens = f.sequence_length
    labels = Tensor(f.tape.storage(0, tokens * INT64, "shifted labels"), 0, tokens, 1, INT64, None)
    log_softmax = f.unary(upcast, "log-softmax", saves="output")
    loss = f.tensor(1, 1, FP32, "loss", log_softmax)
    return f.differentiate(loss, f.own_targets(log_softmax), [f.tape.save(labels)])


def liger_cross_entropy(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Liger's `LigerCrossEntropyFunction` for `cross_entropy`: the fp32 logits become their own gradient in place."""
    upcast = f.to(logits, FP32, "logits in fp32")
    tape, tokens = f.tape, f.sequence_length
    _labels = tape.storage(0, (tokens + 1) * INT64), tape.storage(0, tokens * INT64, "shifted labels")
    _losses = tape.storage(0, tokens * FP32), tape.storage(0, tokens * BOOL)
    loss = f.tensor(1, 1, FP32, "loss", upcast)
    kept, variable = [upcast.storage], upcast.variable

    def backward(gradient: Storage) -> None:
        storage = kept.pop()
        assert storage is not None
        if variable is not None:
            tape.accumulate(variable, storage)

    if loss.variable is not None:
        tape.record(loss.variable, backward, tape.save(upcast))
    return loss


LOSSES: dict[Loss, Callable[[Ops, Tensor, Objective], Tensor]] = {
    Loss.FULL: full,
    Loss.LIGER_CROSS_ENTROPY: liger_cross_entropy,
}
"""From logits; those of `fused_loss.FUSED` make none."""

"""Traces each loss that computes a scalar from logits by a function."""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.losses.earlier import shifted_logits
from planner.models.architecture import INT64, Objective
from strategies import Loss


def full(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Computes transformers' losses: for causal language models (`ForCausalLMLoss`), or for other objectives.

    The causal loss casts logits to fp32, and computes the log-softmax and the negative log-likelihood of the shifted
    int64 labels. Backward makes the gradient of the log-softmax, then that of the logits, both as large as the logits
    in fp32. The caller's own logits live until the loss has been computed.

    Other losses use labels as they are, and compute the log-softmax in the logits' dtype; autocast makes an fp32 copy
    of it for the likelihood (ATen/autocast_mode.h, `fp32_set_opt_dtype`).

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`, or `[batch, labels]` of a classifier.
        objective: What the logits are compared with.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    if objective == "each_pair":
        return ranking(f, logits)
    if objective != "next_token":
        log_softmax = f.unary(logits, "log-softmax", saves="output")
        if f.autocast is not None:
            log_softmax = f.to(log_softmax, FP32, "log-softmax in fp32")
        loss = f.tensor(1, 1, log_softmax.itemsize, "loss", log_softmax)
        return f.differentiate(loss, f.own_targets(log_softmax), [f.tape.save(log_softmax)])
    upcast = f.to(logits, FP32, "logits in fp32")
    labels = _shifted_labels(f)
    log_softmax = f.unary(upcast, "log-softmax", saves="output")
    loss = f.tensor(1, 1, FP32, "loss", log_softmax)
    return f.differentiate(loss, f.own_targets(log_softmax), [f.tape.save(labels)])


def ranking(f: Ops, embedding: Tensor) -> Tensor:
    """Computes what sentence-transformers' ranking loss does with each embedding, without the scores.

    Cosine similarities normalize embeddings in fp32 (util/similarity.py, `cos_sim`). Scores are squares of the
    micro-batch: `planner.memory.step.pairs` counts them.

    Args:
        f: Operations on the tape.
        embedding: Embeddings of sentences, `[width]` per sample.
    """
    upcast = f.to(embedding, FP32, "embedding in fp32")
    normalized = f.unary(upcast, "normalized embedding", saves="input")
    loss = f.tensor(1, 1, FP32, "loss", normalized)
    return f.differentiate(loss, f.own_targets(normalized), [f.tape.save(normalized)])


def liger_cross_entropy(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Computes Liger's `LigerCrossEntropyFunction`, which overwrites the fp32 logits with their gradient.

    It takes the place of `cross_entropy` in the loss for causal language models.

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`.
        objective: Not used: the account is that of the causal loss, with shifted labels.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    upcast = f.to(logits, FP32, "logits in fp32")
    tape, tokens = f.tape, f.sequence_length
    _labels = tape.storage(0, (tokens + 1) * INT64), _shifted_labels(f)
    _losses = tape.storage(0, tokens * FP32), tape.storage(0, tokens * BOOL)
    loss = f.tensor(1, 1, FP32, "loss", upcast)
    variable = upcast.variable
    if loss.variable is None:
        return loss
    kept = [tape.save(upcast)]

    def backward(gradient: Storage) -> None:
        storage = kept.pop()  # None in an evaluation, which keeps nothing
        if variable is not None and storage is not None:
            tape.accumulate(variable, storage)

    tape.record(loss.variable, backward, *kept)
    return loss


def flash_cross_entropy(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Computes flash-attn's `CrossEntropyLoss`, whose kernel reads logits in the dtype that the model gives them.

    They are saved with the log-sum-exp of each token, and backward makes their gradient in the same dtype: beside them,
    since `inplace_backward` is off by default (flash_attn/losses/cross_entropy.py, ops/triton/cross_entropy.py; until
    flash-attn 2.2 csrc/xentropy, with the same tensors). It takes the place of the causal loss with its cast to fp32.

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`.
        objective: Not used: the account is that of the causal loss, with shifted labels.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    _losses, _z_losses = (f.tape.storage(0, f.sequence_length * FP32) for _ in range(2))
    return _as_given(f, logits, ("log-sum-exp",))


def compiled(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Computes the causal loss by torch.compile, which fuses the cast to fp32 into it, forward and backward.

    torch's partitioner saves logits as they are given, with the maximum and the logarithm of the sum of each token, and
    one kernel makes their gradient in their own dtype (torch/_functorch/partitioners.py).

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`.
        objective: Not used: the account is that of the causal loss, with shifted labels.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    return _as_given(f, logits, ("maxima", "logarithms of sums"))


def _shifted_labels(f: Ops) -> Tensor:
    """Allocates the labels that the causal loss shifts by a token."""
    tokens = f.sequence_length
    return Tensor(f.tape.storage(0, tokens * INT64, "shifted labels"), 0, tokens, 1, INT64, None)


def _as_given(f: Ops, logits: Tensor, statistics: tuple[str, ...]) -> Tensor:
    """Returns the loss of a kernel that saves logits in the dtype that they have, and fp32 statistics of each token."""
    tape, tokens = f.tape, f.sequence_length
    _labels = tape.storage(0, (tokens + 1) * INT64)
    shifted = _shifted_labels(f)
    kept = [Tensor(tape.storage(0, tokens * FP32, name), 0, tokens, 1, FP32, None) for name in statistics]
    loss = f.tensor(1, 1, FP32, "loss", logits)
    saved = [tape.save(tensor) for tensor in (logits, shifted, *kept)]
    return f.differentiate(loss, f.own_targets(logits), saved)


LOSSES: dict[Loss, Callable[[Ops, Tensor, Objective], Tensor]] = {
    Loss.FULL: full,
    Loss.TRANSFORMERS_4_48: shifted_logits,
    Loss.TRANSFORMERS_4_45: shifted_logits,
    Loss.LIGER_CROSS_ENTROPY: liger_cross_entropy,
    Loss.FLASH_CROSS_ENTROPY: flash_cross_entropy,
    Loss.COMPILED: compiled,
}
"""The function of each loss that starts from logits; those of `planner.memory.losses.fused.FUSED` make none."""

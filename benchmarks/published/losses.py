"""Traces the losses of earlier transformers, and of fms-acceleration's Triton kernel, in place of today's.

What they hold at the moments of a step, `published.then.loss` says in bytes. What an allocator reserves for them
depends on the order of their requests, which is here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from published.then import SHIFTS_IN_LOSS, version

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.layers.layers import Layers
from planner.memory.tracing.implementations import Implementations
from planner.models.architecture import INT64, Objective
from strategies import Kernels, Loss


class _Raising(Layers):
    """Casts logits to fp32 where the model's forward makes them (modeling_llama.py, up to transformers 4.45)."""

    def lm_head(self, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the logits in fp32, or the fused loss where there is one."""
        logits = super().lm_head(*args, **kwargs)
        return logits if self.loss is not None else self.to(logits, FP32, "logits in fp32")


def shifting(f: Ops, logits: Tensor, objective: Objective, *, triton: bool) -> Tensor:
    """Computes the causal loss from a copy of the fp32 logits, without those of the last token.

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`.
        objective: Not used: all runs train causal language models.
        triton: Whether the loss is the Triton cross-entropy, which saves the copy and overwrites it by its gradient.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    tape, tokens = f.tape, f.sequence_length
    raised = f.to(logits, FP32, "logits in fp32") if logits.itemsize != FP32 else logits
    shifted = _shifted(f, raised)
    labels = Tensor(tape.storage(0, tokens * INT64, "shifted labels"), 0, tokens, 1, INT64, None)
    if not triton:
        log_softmax = f.unary(shifted, "log-softmax", saves="output")
        loss = f.tensor(1, 1, FP32, "loss", log_softmax)
        return f.differentiate(loss, f.own_targets(log_softmax), [tape.save(labels)])
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


def _shifted(f: Ops, logits: Tensor) -> Tensor:
    """Returns a copy of `logits[..., :-1, :]`, whose backward fills zeros for each of two slices.

    Until torch 2.9 a slice that takes everything was one, too, unless its end was given (ATen/TensorIndexing.h,
    `applySlice`; pytorch pull request 157528). The first zeros are as large as the copy, the second as the logits.
    Where these take a larger segment than the copy does, its block cannot serve them, and a third one is reserved.
    """
    elements, sliced = logits.per_sample - logits.width, logits
    for _ in range(2):
        variable = None if logits.variable is None else Variable()
        whole, sliced = sliced, Tensor(logits.storage, 0, elements, logits.width, logits.itemsize, variable)
        f.differentiate(sliced, f.own_targets(whole))
    shifted = f.tensor(elements, logits.width, logits.itemsize, "shifted logits", sliced)
    return f.pass_on(shifted, [sliced])


def with_loss(today: Implementations, transformers: str, *, triton: bool) -> Implementations:
    """Returns implementations in which the full loss is that of a version of transformers."""
    losses = {**today.losses, Loss.FULL: partial(shifting, triton=triton)}
    if version(transformers) >= SHIFTS_IN_LOSS:
        return today._replace(losses=losses)
    raising = {kernels: _raising(today.layers[kernels]) for kernels in (Kernels.EAGER, Kernels.LIGER)}
    return today._replace(losses=losses, layers={**today.layers, **raising})


def _raising(layers: type[Layers]) -> type[Layers]:
    return type("Raising", (_Raising, layers), {})

"""Traces the loss of transformers up to 4.48, which shifts logits and labels, both by a copy.

Up to 4.45 the logits that it gets are in fp32 already, since the model casts them: `CAST_BY_MODEL`.
"""

from __future__ import annotations

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tensor, Variable
from planner.models.architecture import INT64, Objective
from strategies import Loss

CAST_BY_MODEL = (Loss.TRANSFORMERS_4_45,)
"""Losses of models that return logits in fp32 (modeling_llama.py of 4.45, `LlamaForCausalLM.forward`)."""


def shifted_logits(f: Ops, logits: Tensor, objective: Objective) -> Tensor:
    """Computes `ForCausalLMLoss` of transformers 4.46 to 4.48 (loss/loss_utils.py).

    It casts logits to fp32 unless they are, and holds them beside their shifted copy and its log-softmax until it
    returns.

    Args:
        f: Operations on the tape.
        logits: `[batch, tokens, vocab_size]`.
        objective: Not used: the account is that of the causal loss.

    Returns:
        The loss, a scalar that is counted as one element per sample.
    """
    upcast = f.to(logits, FP32, "logits in fp32")
    shifted = without_last(f, upcast)
    tokens = f.sequence_length - 1
    labels = Tensor(f.tape.storage(0, tokens * INT64, "shifted labels"), 0, tokens, 1, INT64, None)
    log_softmax = f.unary(shifted, "log-softmax", saves="output")
    loss = f.tensor(1, 1, FP32, "loss", log_softmax)
    return f.differentiate(loss, f.own_targets(log_softmax), [f.tape.save(labels)])


def without_last(f: Ops, logits: Tensor) -> Tensor:
    """Returns `logits[..., :-1, :].contiguous()`, whose backward fills zeros for each of two slices.

    Until torch 2.9, which is younger than these transformers, a slice that takes everything was one, too, unless its
    end was given (ATen/TensorIndexing.h, `applySlice`; pytorch pull request 157528). The first zeros are as large as
    the copy, the second as the logits.
    """
    elements, sliced = logits.per_sample - logits.width, logits
    for _ in range(2):
        variable = None if logits.variable is None else Variable()
        whole, sliced = sliced, Tensor(logits.storage, 0, elements, logits.width, logits.itemsize, variable)
        f.differentiate(sliced, f.own_targets(whole))
    shifted = f.tensor(elements, logits.width, logits.itemsize, "shifted logits", sliced)
    return f.pass_on(shifted, [sliced])

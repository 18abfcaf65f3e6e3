"""Computes the loss of causal language models as transformers did up to 4.48."""

from __future__ import annotations

import sys
from types import MethodType
from typing import Any

import torch
from torch.nn import functional


def shifted_loss(logits: torch.Tensor, labels: torch.Tensor, vocab_size: int, **kwargs: Any) -> torch.Tensor:
    """Computes `ForCausalLMLoss` of 4.46 to 4.48 (loss/loss_utils.py), with the slices of torch before 2.9.

    Args:
        logits: `[batch, tokens, vocab_size]`.
        labels: `[batch, tokens]`.
        vocab_size: The number of words.
        kwargs: What today's models give to their loss besides.
    """
    logits = logits.float()
    # `logits[..., :-1, :]`, of which torch before 2.9 sliced the last dimension as well (ATen/TensorIndexing.h)
    shifted = torch.ops.aten.slice(logits[..., :-1, :], 2, 0, sys.maxsize).contiguous()
    shifted_labels = labels[..., 1:].contiguous()
    return functional.cross_entropy(shifted.view(-1, vocab_size), shifted_labels.view(-1))


def cast_logits(model: Any) -> None:
    """Patches a causal language model, in place, to cast its logits to fp32 before the loss, as it did up to 4.45.

    Its forward held the fp32 logits alone from then on, beside the hidden states (modeling_llama.py,
    `LlamaForCausalLM.forward`).
    """

    def forward(self: Any, labels: torch.Tensor | None = None, **inputs: Any) -> Any:
        held: list[Any] = []
        hook = self.base_model.register_forward_hook(lambda _module, _inputs, hidden_states: held.append(hidden_states))
        outputs = type(self).forward(self, **inputs)
        hook.remove()
        kind, logits = type(outputs), outputs.logits
        del outputs
        logits = logits.float()
        loss = None if labels is None else self.loss_function(logits, labels, self.config.vocab_size)
        return kind(loss=loss, logits=logits)

    model.forward = MethodType(forward, model)

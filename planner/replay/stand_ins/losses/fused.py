"""Stands in for losses that multiply by the head's weight themselves: the same allocations, no Triton kernels.

Local variables whose names begin with an underscore stand for tensors that the real code holds at that point.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch.nn import functional

from planner.libraries.liger_kernel import chunk_tokens as liger_chunk
from planner.replay.stand_ins.losses.chunked import Kernels, chunked_loss
from planner.replay.stand_ins.losses.cut import cut_loss
from planner.replay.stand_ins.losses.earlier import cast_logits, shifted_loss
from strategies import Loss


class _LigerCrossEntropy(torch.autograd.Function):
    """Stands in for `LigerCrossEntropyFunction`: the logits become their gradient in place.

    Source: liger_kernel/ops/cross_entropy.py.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        losses = torch.zeros(logits.shape[0], dtype=logits.dtype)
        _mask = target != -100
        ctx.save_for_backward(logits.detach())
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (logits,) = ctx.saved_tensors
        return logits, None


class _LigerFusedLinear(torch.autograd.Function):
    """Stands in for liger-kernel's fused linear cross-entropy: its forward makes the gradients, chunk by chunk.

    Source: liger_kernel/ops/fused_linear_cross_entropy.py, `fused_linear_cross_entropy_forward` on CUDA. Products that
    cuBLAS adds to a tensor in place allocate nothing, and are left out.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, adds: bool) -> torch.Tensor:
        tokens, words = x.shape[0], weight.shape[0]
        chunk = liger_chunk(tokens, x.shape[1], words)
        of_x = torch.zeros_like(x)
        of_weight = torch.zeros_like(weight) if weight.requires_grad else None
        losses = torch.zeros(tokens, dtype=torch.float32)
        _mask = target != -100
        half = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        in_buffer = x.dtype == weight.dtype == half
        buffer = torch.empty(chunk, words, dtype=x.dtype) if in_buffer else None
        for start in range(0, tokens, chunk):
            rows = x[start : start + chunk]
            if buffer is None:
                logits = rows @ weight.t()
                of_x[start : start + chunk] = logits @ weight
            else:
                logits = buffer[: rows.shape[0]]
                torch.mm(rows, weight.t(), out=logits)
                torch.mm(logits, weight, out=of_x[start : start + chunk])
            if of_weight is not None:
                if adds and logits.dtype != torch.float32:
                    _cast = rows.to(logits.dtype)
                    del _cast
                else:
                    of_weight += torch.mm(logits.t(), rows).float()
            del logits
        del buffer
        ctx.save_for_backward(of_x.detach(), None if of_weight is None else of_weight.detach())
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_x, of_weight = ctx.saved_tensors
        return of_x, of_weight, None, None


def _liger_loss(x: torch.Tensor, head: Any, labels: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """Computes the loss as `LigerForCausalLMLoss` does (liger_kernel/transformers/model/loss_utils.py)."""
    padded = functional.pad(labels, (0, 1), value=-100)
    shifted = padded[..., 1:].contiguous()
    out: torch.Tensor = _LigerFusedLinear.apply(
        x.view(-1, x.shape[-1]), head.weight, shifted.view(-1), kernels.adds_in_place
    )
    return out


FUSED: dict[Loss, Callable[..., torch.Tensor]] = {
    Loss.LIGER_FUSED_LINEAR: _liger_loss,
    Loss.CHUNKED: chunked_loss,
    Loss.CUT_CROSS_ENTROPY: cut_loss,
}
"""Losses that need no logits.

Each takes hidden states `[batch, tokens, hidden]`, the head, labels `[batch, tokens]`, and the device's kernels."""


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, vocab_size: int, **kwargs: Any) -> torch.Tensor:
    """Computes `ForCausalLMLoss` (transformers/loss/loss_utils.py) with liger-kernel's cross-entropy."""
    logits = logits.float()
    labels = functional.pad(labels, (0, 1), value=-100)
    shifted = labels[..., 1:].contiguous()
    out: torch.Tensor = _LigerCrossEntropy.apply(logits.view(-1, vocab_size), shifted.view(-1))
    return out


class _AsGiven(torch.autograd.Function):
    """Stands in for kernels of cross-entropy that make the logits' gradient beside them, in their dtype.

    Source: flash_attn/ops/triton/cross_entropy.py; torch.compile saves two statistics of each token instead of one.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, statistics: int) -> torch.Tensor:
        losses, *saved = (torch.empty(logits.shape[0], dtype=torch.float32) for _ in range(1 + statistics))
        ctx.save_for_backward(logits, target, *saved)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, *_ = ctx.saved_tensors
        return torch.empty_like(logits), None, None


def _as_given(
    logits: torch.Tensor, labels: torch.Tensor, vocab_size: int, *, statistics: int = 1, **kwargs: Any
) -> torch.Tensor:
    """Computes `ForCausalLMLoss` (transformers/loss/loss_utils.py) by a kernel that reads logits as they are."""
    labels = functional.pad(labels, (0, 1), value=-100)
    shifted = labels[..., 1:].contiguous()
    out: torch.Tensor = _AsGiven.apply(logits.view(-1, vocab_size), shifted.view(-1), statistics).sum()
    return out


OF_LOGITS: dict[Loss, Callable[..., torch.Tensor]] = {
    Loss.LIGER_CROSS_ENTROPY: _cross_entropy,
    Loss.FLASH_CROSS_ENTROPY: _as_given,
    Loss.COMPILED: partial(_as_given, statistics=2),
    Loss.TRANSFORMERS_4_48: shifted_loss,
    Loss.TRANSFORMERS_4_45: shifted_loss,
}
"""Losses that take the place of the model's own loss function.

Each takes logits `[batch, tokens, words]`, labels `[batch, tokens]` and the number of words.
"""


def fuse(model: Any, loss: Loss, kernels: Kernels) -> None:
    """Patches a causal language model, in place, to compute the loss of a library.

    A loss of `FUSED` gets a forward that never makes the logits; one of `OF_LOGITS` replaces the model's own loss
    function. Both are patched before adapters are added. Other losses change nothing.

    Args:
        model: The model of transformers.
        loss: The loss to compute.
        kernels: Which kernels the device has.
    """
    if loss in OF_LOGITS:
        model.loss_function = OF_LOGITS[loss]
    if loss is Loss.TRANSFORMERS_4_45:
        cast_logits(model)
    if loss not in FUSED:
        return

    def forward(self: Any, labels: torch.Tensor, **inputs: Any) -> Any:
        from transformers.modeling_outputs import CausalLMOutputWithPast

        # In evaluation liger-kernel makes the logits (liger_kernel/transformers/model/).
        if loss is Loss.LIGER_FUSED_LINEAR and not self.training:
            return type(self).forward(self, labels=labels, **inputs)
        outputs = self.base_model(**inputs)
        head, loss_of = self.get_output_embeddings(), FUSED[loss]
        return CausalLMOutputWithPast(loss=loss_of(outputs.last_hidden_state, head, labels, kernels))

    model.forward = MethodType(forward, model)

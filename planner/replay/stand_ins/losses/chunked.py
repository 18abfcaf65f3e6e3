"""Stands in for TRL's chunked loss: the same allocations, by Triton's kernels or, on a CPU, by torch's operators.

Source: trl/kernels/chunked_logprob.py; trl/trainer/utils.py, `add_fused_lm_head`; sft_trainer.py asks for the entropy
and for the tokens that are predicted right as well. Local variables whose names begin with an underscore stand for
tensors that the real code holds at that point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from planner.libraries.trl import TILE_TOKENS, TILE_WORDS


class Kernels(NamedTuple):
    """Says which kernels a device has for a loss that multiplies by the head's weight itself."""

    adds_in_place: bool = True
    """Whether the GPU has compute capability 8.0 or higher, from which on liger-kernel lets cuBLAS add products to the
    gradient of the head in place."""
    has_triton: bool = True
    """Whether Triton's kernels run on it; else TRL computes with torch's operators, whole tiles at once."""


class _Selected(torch.autograd.Function):
    """Stands in for `hidden_states[mask]` where the mask is true everywhere.

    `index` turns the mask into int64 positions in forward; in backward `index_put_` does so again, and adds to zeros
    (derivatives.yaml, `index.Tensor`).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(mask)
        ctx.shape = x.shape
        _positions = torch.empty(mask.numel(), mask.dim(), dtype=torch.int64)
        return x.new_empty(mask.numel(), *x.shape[mask.dim() :])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        out = gradient.new_zeros(ctx.shape)
        _positions = torch.empty(mask.numel(), mask.dim(), dtype=torch.int64)
        return out, None


def _in_kernel(tile: torch.Tensor, rows: torch.Tensor, words: torch.Tensor) -> None:
    """Folds a tile by a kernel of Triton's, and adds its products by cuBLAS; neither allocates."""


def _fold_forward(tile: torch.Tensor, rows: torch.Tensor, words: torch.Tensor) -> None:
    """Folds a tile as `_forward_tile` does, with entropy and the best token."""
    z = tile.float() * 1.0
    z = z * 1.0
    _before = z < 0
    z.masked_fill(~_before, 0.0).amax(-1)
    e = torch.exp(z - z.amax(-1, keepdim=True))
    (e * z).sum(-1)


def _fold_backward(tile: torch.Tensor, rows: torch.Tensor, words: torch.Tensor) -> None:
    """Turns a tile into its gradient as `_backward_tile` does, and casts what is multiplied with it, `_addmm_fp32`."""
    _folded(tile)
    _products(tile, words)
    _products(tile.t(), rows)


def _folded(tile: torch.Tensor) -> None:
    _y = tile.float() * 1.0
    z = _y * 1.0
    _log_p = z - 0.0
    p = torch.exp(_log_p)
    grad = torch.zeros_like(z)
    is_target = z == 0
    grad += z[:, :1] * (is_target.float() - p)
    grad = grad * 1.0
    tile.copy_(grad * 1.0)


def _products(a: torch.Tensor, b: torch.Tensor) -> None:
    _a, _b = a.float(), b.float()


class _ChunkedLogProb(torch.autograd.Function):
    """Stands in for `ChunkedLogProbFunction`, of whose results the log-probabilities alone have a gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: Any, target: torch.Tensor, has_triton: bool
    ) -> torch.Tensor:
        half = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        tokens = x.shape[0]
        statistics = [torch.empty(tokens, dtype=torch.float32) for _ in range(7)]
        _ChunkedLogProb.tiles(x, weight, half, _in_kernel if has_triton else _fold_forward)
        log_sum_exp = statistics[0] + torch.log(statistics[1])
        out = statistics[2] - log_sum_exp
        ctx.save_for_backward(x, weight, bias, target, log_sum_exp)
        ctx.half, ctx.has_triton = half, has_triton
        return out

    @staticmethod
    def tiles(x: torch.Tensor, weight: torch.Tensor, half: torch.dtype, fold: Callable[..., None]) -> None:
        """Computes the logits tile by tile, in one buffer, and folds each.

        Hidden states are cast once per chunk of tokens, the weight once per tile.
        """
        _buffer = torch.empty(min(x.shape[0], TILE_TOKENS), TILE_WORDS, dtype=half)
        for start in range(0, x.shape[0], TILE_TOKENS):
            _rows = x[start : start + TILE_TOKENS].to(half)
            for word in range(0, weight.shape[0], TILE_WORDS):
                _words = weight[word : word + TILE_WORDS].to(half)
                tile = _buffer[: _rows.shape[0], : _words.shape[0]]
                torch.mm(_rows, _words.t(), out=tile)
                fold(tile, _rows, _words)
                del _words
            del _rows

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, _, _ = ctx.saved_tensors
        of_x = torch.zeros(x.shape, dtype=torch.float32)
        of_head = [
            torch.zeros(p.shape, dtype=torch.float32) if needed else None
            for p, needed in zip((weight, bias), ctx.needs_input_grad[1:3], strict=True)
        ]
        _ChunkedLogProb.tiles(x, weight, ctx.half, _in_kernel if ctx.has_triton else _fold_backward)
        of_weight, of_bias = (None if g is None else g.to(weight.dtype) for g in of_head)
        return of_x.to(x.dtype), of_weight, of_bias, None, None


def chunked_loss(x: torch.Tensor, head: Any, labels: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """Computes the loss of TRL's SFTTrainer; positions without a label are left out where there is Triton."""
    x, labels = x[:, :-1], labels[:, 1:]
    mask = labels != -100
    chosen = torch.empty(labels.numel(), dtype=torch.int64)
    scored = _Selected.apply(x, mask) if kernels.has_triton else x.reshape(-1, x.shape[-1])
    log_probs = _ChunkedLogProb.apply(scored, head.weight, head.bias, chosen, kernels.has_triton)
    if kernels.has_triton:
        per_token = log_probs.new_zeros(mask.shape).masked_scatter(mask, log_probs)
    else:
        per_token = log_probs.view(mask.shape).masked_fill(~mask, 0)
    out: torch.Tensor = -per_token.sum() / mask.sum()
    return out

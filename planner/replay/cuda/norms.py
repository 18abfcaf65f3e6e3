"""Replaces LayerNorm, whose CUDA kernel keeps its statistics in fp32, and the CPU's in the dtype of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from planner.replay.cuda.kernels import in_fp32

_layer_norm = in_fp32(functional.layer_norm)
"""torch's own LayerNorm, under autocast in fp32."""


def _normalized(
    x: torch.Tensor, shape: Sequence[int], weight: torch.Tensor | None, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Allocates the output, then mean and rstd of each row in the type that CUDA accumulates in.

    Source: aten/src/ATen/native/cuda/layer_norm_kernel.cu, `layer_norm_cuda`.
    """
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    rows = [*x.shape[: x.dim() - len(shape)], *(1 for _ in shape)]
    mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
    return out, mean, rstd


torch.library.custom_op("planner::layer_norm", _normalized, mutates_args=()).register_fake(_normalized)


class LayerNorm(torch.autograd.Function):
    """Allocates and saves what `native_layer_norm` does on CUDA."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, shape: Sequence[int], weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Allocates the output and the statistics, and saves these with all that it is given."""
        detached = (None if given is None else given.detach() for given in (weight, bias))
        with torch.enable_grad():  # by which the recorder knows what checkpointing computes again
            out, mean, rstd = torch.ops.planner.layer_norm(x.detach(), shape, *detached)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        ctx.shape = shape
        made: torch.Tensor = out
        return made

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Allocates the gradients that are wanted."""
        x, mean, rstd, weight, bias = ctx.saved_tensors
        of_x, _, of_weight, of_bias = ctx.needs_input_grad
        wanted = [of_x, of_weight, of_bias]
        made = torch.ops.aten.native_layer_norm_backward(gradient, x, ctx.shape, mean, rstd, weight, bias, wanted)
        return made[0], None, made[1], made[2]


def layer_norm(
    x: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Replaces `torch.nn.functional.layer_norm`."""
    if x.dtype is torch.float32 or torch.is_autocast_enabled("cpu"):
        made: torch.Tensor = _layer_norm(x, normalized_shape, weight, bias, eps)
        return made
    out: torch.Tensor = LayerNorm.apply(x, tuple(normalized_shape), weight, bias)
    return out

"""Counts the products of kernels that no operator of torch stands for.

The recorder counts the work of operators. A stand-in allocates what a kernel does, by operators that compute nothing,
and makes one of its results here, with the FLOPs of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula


def _like(x: torch.Tensor, flops: int, contiguous: bool = False) -> torch.Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format if contiguous else torch.preserve_format)


torch.library.custom_op("planner::counted_like", _like, mutates_args=()).register_fake(_like)
counted_like = torch.ops.planner.counted_like
"""Returns a tensor like its first argument and counts as the FLOPs of the second; with its strides, or contiguous."""


def counted_forward(x: torch.Tensor, flops: int, *, contiguous: bool = False) -> torch.Tensor:
    """Does the same within the forward of an autograd function.

    There gradients are off, by which the recorder would take what checkpointing computes again for backward's own work.
    """
    with torch.enable_grad():
        out: torch.Tensor = counted_like(x.detach(), flops, contiguous)
    return out


@register_flop_formula(counted_like)
def _flops(shape: Any, flops: int, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return flops

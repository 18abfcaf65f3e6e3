"""Replaces operations whose CUDA kernels allocate or save other tensors than the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

_cross_entropy = functional.cross_entropy
"""torch's own cross-entropy."""

_grouped_mm = functional.grouped_mm
"""torch's own grouped product."""


class Softmax(torch.autograd.Function):
    """Allocates what CUDA's softmax does.

    Its forward goes from half precision to fp32 in one kernel. Its backward makes the product of gradient and output,
    and returns half precision (aten/src/ATen/native/cuda/SoftMax.cu). The CPU casts first, and multiplies within its
    kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Allocates the output in `dtype` and saves it."""
        out = torch.empty_like(x, dtype=dtype)
        ctx.save_for_backward(out)
        ctx.dtype = x.dtype
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Allocates the gradient in the dtype of the input, and the product as a temporary."""
        (out,) = ctx.saved_tensors
        result = torch.empty_like(out, dtype=ctx.dtype)  # a structured kernel allocates its output before temporaries
        _product = gradient * out
        return result, None


class SafeSoftmax(Softmax):
    """Allocates what `_safe_softmax` does, which finds rows that are wholly masked and sets them to zero.

    Source: aten/src/ATen/native/transformers/attention.cpp.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # without a dtype
        """Allocates the softmax, the mask of its rows and the result, and saves the result."""
        out = torch.empty_like(x)
        _masked = torch.empty_like(x, dtype=torch.bool)
        result = torch.empty_like(out)
        ctx.save_for_backward(result)
        ctx.dtype = x.dtype
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # without a dtype
        """Allocates what the backward of `Softmax` does."""
        return Softmax.backward(ctx, gradient)[0]


def softmax(x: torch.Tensor, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Replaces `torch.nn.functional.softmax` and `torch.Tensor.softmax`."""
    if torch.is_autocast_enabled("cpu") and dtype is None:
        dtype = torch.float32  # the kernel casts (ATen/autocast_mode.h, `fp32_set_opt_dtype`)
    out: torch.Tensor = Softmax.apply(x, dtype or x.dtype)
    return out


def cross_entropy(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Replaces `torch.nn.functional.cross_entropy`, which CUDA's autocast treats differently.

    CUDA's list of operators has only the parts: `cross_entropy_loss` asks for a log-softmax in the dtype of its input,
    which autocast respects, and `nll_loss` is in the fp32 list (aten/src/ATen/native/LossNLL.cpp,
    ATen/autocast_mode.h). The CPU's list has `cross_entropy_loss` itself, and casts its input first.
    """
    if not torch.is_autocast_enabled("cpu") or x.dtype is torch.float32 or label_smoothing:
        return _cross_entropy(
            x, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing=label_smoothing
        )
    with torch.autocast("cpu", enabled=False):
        logarithms = functional.log_softmax(x, 1).float()
        return functional.nll_loss(logarithms, target, weight, size_average, ignore_index, reduce, reduction)


def dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Replaces `torch.nn.functional.dropout` by CUDA's fused one, whose mask has one byte per element.

    The CPU's mask has the dtype of the input.
    """
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def in_fp32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function that CUDA's autocast runs in fp32 and the CPU's does not.

    Source: torch.amp, "CUDA Ops that can autocast to float32".
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            args = tuple(a.float() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)
        return function(*args, **kwargs)

    return call


class GroupedProduct(torch.autograd.Function):
    """Allocates what `grouped_mm` does in fp32 or fp16.

    The kernels support these dtypes (torch/aten, `_grouped_mm_validate_inputs`); torch's meta function does not.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Allocates the product `[rows of x, columns]` and saves what the wanted gradients need.

        Args:
            ctx: Autograd's context.
            x: `[rows of x, rows]`, the inputs of all experts together.
            weights: `[experts, rows, columns]`.
        """
        ctx.save_for_backward(x if weights.requires_grad else None, weights if x.requires_grad else None)
        ctx.transposed, ctx.shapes = weights.stride(-1) != 1, (x.shape, weights.shape)
        return x.new_empty(x.shape[0], weights.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Allocates the gradients that are wanted, that of the weights in the memory layout of the weights."""
        of_x, of_weights = None, None
        shape, (experts, rows, columns) = ctx.shapes
        if ctx.needs_input_grad[0]:
            of_x = gradient.new_empty(shape)
        if ctx.needs_input_grad[1]:
            swapped = (experts, columns, rows) if ctx.transposed else (experts, rows, columns)
            of_weights = gradient.new_empty(swapped)
            of_weights = of_weights.transpose(-2, -1) if ctx.transposed else of_weights
        return of_x, of_weights


def grouped_mm(x: torch.Tensor, weights: torch.Tensor, *, offs: torch.Tensor) -> torch.Tensor:
    """Replaces `torch.nn.functional.grouped_mm` for dtypes that torch's meta function does not support."""
    if x.dtype is torch.bfloat16:
        return _grouped_mm(x, weights, offs=offs)
    out: torch.Tensor = GroupedProduct.apply(x, weights)
    return out

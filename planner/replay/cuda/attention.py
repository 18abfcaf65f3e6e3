"""Runs SDPA's kernels and makes transformers' masks as CUDA has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from planner.libraries.sdpa import SdpaKernel, Selection
from planner.replay.cuda.kernels import SafeSoftmax

_sdpa = functional.scaled_dot_product_attention
"""torch's own SDPA."""

ATTENTION = "planner_sdpa"
"""Name under which transformers finds the attention of this module."""


def _flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: Any) -> torch.Tensor:
    """Runs the flash kernel, which makes no mask and no scores and saves q, k, v, the output and the log-sum-exp."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention
    out: torch.Tensor = kernel(query, key, value, dropout, True, scale=scale)[0]
    return out


def _efficient(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: Any) -> torch.Tensor:
    """Runs the memory-efficient kernel, which saves what flash does.

    Its log-sum-exp is padded to a multiple of 32 tokens.
    """
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    out: torch.Tensor = kernel(query, key, value, None, True, dropout, True, scale=scale)[0]
    return out


def _math(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scale: Any,
    mask: torch.Tensor | None = None,
    grouped: bool = True,
) -> torch.Tensor:
    """Computes attention by matrix products that write out scores and probabilities.

    Follows `_scaled_dot_product_attention_math` (aten/src/ATen/native/transformers/attention.cpp), which computes in
    fp32 unless `allow_fp16_bf16_reduction_math_sdp` is set. On fake tensors torch's own would add the mask out of place
    and hide what the softmax allocates.

    Args:
        query: `[batch, heads, tokens, head_dim]`.
        key: The same with the heads of keys and values.
        value: The same as `key`.
        dropout: Probability.
        scale: Factor of the scores; None for `head_dim ** -0.5`.
        mask: Floats that are added to the scores; None for a causal mask.
        grouped: `enable_gqa`; without it, the matrix products broadcast a single head of keys and values.
    """
    q, k, v = (x.float() for x in (query, key, value))
    groups, factor = q.shape[1] // k.shape[1] if grouped else 1, math.sqrt(scale or q.shape[-1] ** -0.5)
    scaled = q * factor
    if mask is None:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        mask = torch.where(mask, torch.zeros((), dtype=q.dtype), float("-inf"))
    keys, values = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (k, v))
    weights = torch.matmul(scaled, keys.transpose(-2, -1) * factor)
    weights += mask
    weights = SafeSoftmax.apply(weights)
    weights = functional.dropout(weights, dropout)
    _returned = weights.to(query.dtype)  # the second result, which SDPA discards
    return torch.matmul(weights, values).to(query.dtype)


def _cudnn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: Any) -> torch.Tensor:
    """Runs cuDNN's kernel, which saves what flash does; cuDNN does not document the workspace of its backward."""
    kernel = torch.ops.aten._scaled_dot_product_cudnn_attention
    out: torch.Tensor = kernel(query, key, value, None, True, dropout, True, scale=scale)[0]
    return out


_KERNELS = {
    SdpaKernel.CUDNN: _cudnn,
    SdpaKernel.FLASH: _flash,
    SdpaKernel.EFFICIENT: _efficient,
    SdpaKernel.MATH: _math,
}


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns what a mask adds to the scores (attention.cpp, `convert_boolean_attn_mask`)."""
    if mask.dtype is not torch.bool:
        return mask
    return torch.where(mask.logical_not(), float("-inf"), torch.zeros((), dtype=dtype))


def _within_mask(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Computes attention with a mask: of a sliding window, or of padded or packed samples.

    torch selects the memory-efficient kernel for it and converts the mask to a bias.
    """
    bias = _added(mask, query.dtype)
    bias = bias.expand(*query.shape[:3], query.shape[2])
    out: torch.Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, bias, True)[0]
    return out


def _biased(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor, dropout: float, scale: Any
) -> torch.Tensor:
    """Computes attention with a bias of floats that all samples share.

    torch selects the memory-efficient kernel for it, too, whose backward makes the bias's gradient for every sample
    (cuda/attention_backward.cu, `_efficient_attention_backward`).
    """
    bias = bias.expand(*query.shape[:3], key.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    out: torch.Tensor = kernel(query, key, value, bias, True, dropout, scale=scale)[0]
    return out


def _selected(selection: Selection, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> SdpaKernel:
    """Returns the kernel that runs without a mask, after autocast's cast."""
    itemsize = torch.get_autocast_dtype("cpu").itemsize if torch.is_autocast_enabled("cpu") else query.itemsize
    grouped = query.shape[1] != key.shape[1]
    return selection.kernel(itemsize, query.shape[-1], grouped=grouped, value_dim=value.shape[-1])


def attention(selection: Selection) -> Callable[..., tuple[torch.Tensor, None]]:
    """Returns transformers' SDPA attention function with CUDA's kernels.

    Autocast casts the inputs of SDPA and is off within it (ATen/autocast_mode.h, `WrapFunction_`). With a mask, and for
    the memory-efficient kernel, transformers repeats grouped keys and values before the call and holds both; where a
    single head was repeated as a view, the cast copies it.

    Args:
        selection: Says which kernel CUDA would run for a call.
    """
    from transformers.integrations.sdpa_attention import create_position_bias_mask, repeat_kv

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[torch.Tensor, None]:
        bias, kernel = options.get("position_bias"), _selected(selection, query, key, value)
        if bias is not None:
            mask = bias = create_position_bias_mask(bias, mask, mask is None and module.is_causal, query, key)
        elif mask is not None or kernel is SdpaKernel.EFFICIENT:
            key, value = _held = [repeat_kv(x, query.shape[1] // x.shape[1]) for x in (key, value)]
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            query, key, value = (x.to(dtype) for x in (query, key, value))
            bias = None if bias is None else bias.to(dtype)
        with torch.autocast("cpu", enabled=False):
            if bias is not None:
                out = _biased(query, key, value, bias, options.get("dropout", 0.0), options.get("scaling"))
            elif mask is not None:
                out = _within_mask(query, key, value, mask)
            else:
                out = _KERNELS[kernel](query, key, value, options.get("dropout", 0.0), options.get("scaling"))
        return out.transpose(1, 2).contiguous(), None

    return attend


def sdpa(selection: Selection) -> Callable[..., torch.Tensor]:
    """Returns a replacement of torch's SDPA, for models that call it themselves.

    Calls with a mask use CUDA's kernels; other calls are left to the CPU's.

    Args:
        selection: Says which kernel CUDA would run for a call.
    """

    def call(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> torch.Tensor:
        if attn_mask is None or query.dim() != 4 or options.get("enable_gqa"):
            return _sdpa(query, key, value, attn_mask, dropout_p, is_causal, **options)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            query, key, value = (x.to(dtype) for x in (query, key, value))
            attn_mask = attn_mask if attn_mask.dtype is torch.bool else attn_mask.to(dtype)
        with torch.autocast("cpu", enabled=False):
            bias, scale = _added(attn_mask, query.dtype), options.get("scale")
            if selection.masked_kernel(grouped=query.shape[1] != key.shape[1]) is SdpaKernel.MATH:
                return _math(query, key, value, dropout_p, scale, bias, grouped=False)
            bias = bias.expand(*query.shape[:3], key.shape[2])
            kernel = torch.ops.aten._scaled_dot_product_efficient_attention
            out: torch.Tensor = kernel(query, key, value, bias, True, dropout_p, False, scale=scale)[0]
            return out

    return call


def window_mask(
    batch_size: int, q_length: int, kv_length: int, *args: Any, local_size: int | None = None, **kwargs: Any
) -> torch.Tensor | None:
    """Returns the boolean mask of a sliding window, or None where the sequence is shorter than the window.

    Without a mask, SDPA is told that attention is causal. This replaces transformers' own function, which looks for
    packed sequences in the values of the position ids; fake tensors have no values.
    """
    if local_size is None or kv_length < local_size:
        return None
    return torch.empty((1, 1, q_length, kv_length), dtype=torch.bool).expand(batch_size, -1, -1, -1)


def mask_of_samples(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Returns the mask of padded or packed samples by transformers' own function for SDPA.

    The function is told not to check whether a sequence is without padding after all.
    """
    from transformers.masking_utils import sdpa_mask

    return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})

"""Stands in for attention kernels that only GPUs have: the same bytes, the same allocations, no kernels.

Tensors of queries, keys and values are `[batch, heads, tokens, head_dim]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hardware import PlannerError
from planner.libraries.flash_attn import LARGEST_HEAD, head_dim_2, head_dim_3, rounded, rows_3
from planner.libraries.flash_attn import ROWS_2 as ROWS_OF_FLASH_2
from planner.libraries.flex_attention import block_mask_bytes
from planner.replay.stand_ins.counted import counted_forward, counted_like
from strategies import Attention

IMPLEMENTATIONS = {
    Attention.FLASH_2: "planner_fa2",
    Attention.FLASH_3: "planner_fa3",
    Attention.FLEX: "planner_flex",
}
"""Names under which `register` makes the stand-ins known to transformers.

They differ from transformers' own names, for which it would look for the packages."""

FORWARD, BACKWARD = 2, 5
"""Products of a kernel: scores and output; in backward scores again, and the gradients of scores, q, k and v.

torch.utils.flop_counter counts as many, `sdpa_flop_count` and `sdpa_backward_flop_count`."""

Shapes = Sequence[tuple[tuple[int, ...], torch.dtype]]
"""Shapes and dtypes of tensors."""


class _Kernel(torch.autograd.Function):
    """A fused attention: saves q, k, v, the output and the log-sum-exp, and allocates the gradients in backward.

    Subclasses say what backward allocates in addition to the gradients.
    """

    @staticmethod
    def workspace(query: torch.Tensor, key: torch.Tensor) -> Shapes:
        """Returns what backward allocates in addition to the gradients of q, k and v."""
        raise NotImplementedError

    @staticmethod
    def output(query: torch.Tensor, flops: int) -> torch.Tensor:
        """Allocates the output, with the strides of q (`empty_like`)."""
        return counted_forward(query, flops)

    @classmethod
    def forward(  # type: ignore[override]  # a classmethod here
        cls, ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, keys: int
    ) -> torch.Tensor:
        ctx.flops_of_product = 2 * query.numel() * keys
        out = cls.output(query, FORWARD * ctx.flops_of_product)
        log_sum_exp = torch.empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, log_sum_exp)
        return out

    @classmethod
    def backward(cls, ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]  # as above
        query, key, value, _, _ = ctx.saved_tensors
        flops = BACKWARD * ctx.flops_of_product
        gradients = counted_like(query, flops), torch.empty_like(key), torch.empty_like(value)
        _made = [torch.empty(shape, dtype=dtype) for shape, dtype in cls.workspace(query, key)]
        return *gradients, None


class _Flash2(_Kernel):
    """FlashAttention 2.

    Source: flash_attn/flash_attn_interface.py, `FlashAttnFunc`; csrc/flash_attn/flash_api.cpp, `mha_fwd` and `mha_bwd`.
    """

    @staticmethod
    def workspace(query: torch.Tensor, key: torch.Tensor) -> Shapes:
        batch, heads, tokens, head_dim = query.shape
        rows = rounded(tokens, ROWS_OF_FLASH_2)
        softmax_d = ((batch, heads, rows), torch.float32)
        dq_accum = ((batch, rows, heads, head_dim_2(head_dim)), torch.float32)
        expanded = [] if heads == key.shape[1] else [((batch, tokens, heads, head_dim), query.dtype)] * 2
        return [softmax_d, dq_accum, *expanded]


class _Flash3(_Kernel):
    """FlashAttention 3.

    Source: hopper/flash_attn_interface.py, `FlashAttnFunc`; hopper/flash_api.cpp, `mha_fwd` and `mha_bwd`.
    """

    @staticmethod
    def output(query: torch.Tensor, flops: int) -> torch.Tensor:
        return counted_forward(query.transpose(1, 2), flops, contiguous=True).transpose(1, 2)

    @staticmethod
    def workspace(query: torch.Tensor, key: torch.Tensor) -> Shapes:
        batch, heads, tokens, head_dim = query.shape
        of_queries, of_keys = rows_3(head_dim)
        rows, columns, size = rounded(tokens, of_queries), rounded(tokens, of_keys), head_dim_3(head_dim)
        statistics = [((batch, heads, rows), torch.float32)] * 2
        dq_accum = ((batch, heads, rows * size), torch.float32)
        kv_accum = [] if heads == key.shape[1] else [((batch, key.shape[1], columns * size), torch.float32)] * 2
        semaphore = ((rows // of_queries, batch, heads), torch.int32)
        return [*statistics, dq_accum, *kv_accum, semaphore]


class _Flex(_Kernel):
    """Flex attention: what inductor allocates around its kernels.

    Source: torch/_inductor/kernel/flex/flex_attention.py, `flex_attention` and `flex_attention_backward`. The compiled
    backward also gets zeros as the gradient of the log-sum-exp, an output that nothing uses.
    """

    @staticmethod
    def workspace(query: torch.Tensor, key: torch.Tensor) -> Shapes:
        return [(tuple(query.shape[:3]), torch.float32)] * 2


def _half(x: torch.Tensor, module: Any) -> torch.dtype:
    """Returns the dtype that fp32 inputs are cast to.

    Source: transformers/integrations/flash_attention.py, `get_target_dtype`.
    """
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    dtype: torch.dtype = module.config.dtype
    return dtype


def _flash(kernel: type[_Kernel]) -> Callable[..., tuple[torch.Tensor, None]]:
    """Makes the attention function that transformers calls, from a kernel.

    Source: transformers/integrations/flash_attention.py, `flash_attention_forward`. Without padding it calls
    flash-attn's function for sequences of equal length, which supports sliding windows and soft-capping.
    """

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[torch.Tensor, None]:
        if (width := query.shape[-1]) > LARGEST_HEAD or width % 8 or value.shape[-1] != width:
            sizes = f"{width}" if value.shape[-1] == width else f"{width} for queries and {value.shape[-1]} for values"
            raise PlannerError(
                f"flash-attn takes heads of one size, a multiple of 8 up to {LARGEST_HEAD}, and these have {sizes}",
                "--attention sdpa",
            )
        if query.dtype == torch.float32:
            dtype = _half(query, module)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        keys = min(key.shape[2], options.get("sliding_window") or key.shape[2])
        return kernel.apply(query, key, value, keys).transpose(1, 2), None

    return attend


def _flex(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[torch.Tensor, None]:
    """Runs flex attention as transformers does (integrations/flex_attention.py, `flex_attention_forward`)."""
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    if heads & (heads - 1):
        key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
    if torch.is_autocast_enabled("cpu"):  # torch/_higher_order_ops/flex_attention.py, `_flex_attention_autocast_impl`
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    return _Flex.apply(query, key, value, key.shape[2]).transpose(1, 2).contiguous(), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Makes no mask, as transformers' `flash_attention_mask` without padding (masking_utils.py)."""


def _block_mask(batch_size: int, q_length: int, kv_length: int, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Allocates the tensors of a `BlockMask` as a single one."""
    return torch.empty(batch_size, block_mask_bytes(q_length), dtype=torch.uint8)


def register() -> None:
    """Makes the stand-ins and their masks known to transformers, under the names in `IMPLEMENTATIONS`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    kernels = {Attention.FLASH_2: _flash(_Flash2), Attention.FLASH_3: _flash(_Flash3), Attention.FLEX: _flex}
    for attention, name in IMPLEMENTATIONS.items():
        AttentionInterface.register(name, kernels[attention])
        AttentionMaskInterface.register(name, _block_mask if attention is Attention.FLEX else _no_mask)

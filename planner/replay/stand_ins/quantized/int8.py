"""Stands in for bitsandbytes' LLM.int8() layer: the same bytes, the same allocations, no kernels."""

from __future__ import annotations

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from planner.replay.stand_ins.shapes import shape_of

THRESHOLD = 6.0
"""Magnitude from which an element of x is an outlier: transformers' default of `llm_int8_threshold`."""


class _Matmul(torch.autograd.Function):
    """Stands in for `MatMul8bitLt` with an int8 weight (bitsandbytes/autograd/_functions.py).

    x is quantized row by row, multiplied to int32, scaled to fp16 and cast to x's dtype. It is kept as an attribute
    of the context, not as a saved tensor. Outliers are left out, because their number depends on values.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Linear8bit) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        codes, scales = _quantize(rows.to(torch.float16))
        out = _scaled(torch.empty(rows.shape[0], layer.out_features, dtype=torch.int32), rows.dtype)
        del codes, scales
        ctx.layer, ctx.shape, ctx.dtype = layer, x.shape, x.dtype
        ctx.kept = rows if ctx.needs_input_grad[0] else None
        return out.reshape(*x.shape[:-1], layer.out_features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        rows = gradient.reshape(-1, gradient.shape[-1]).contiguous()
        weight = ctx.layer.weight.to(ctx.dtype, copy=True).mul_(ctx.layer.scales.unsqueeze(1).mul(1.0 / 127.0))
        return torch.matmul(rows.to(ctx.dtype), weight).view(ctx.shape), None


def _quantize(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns int8 codes, `[rows, in]`, and fp32 scales, `[rows]`, of x.

    It stands in for `int8_vectorwise_quant` (bitsandbytes/backends/cuda/ops.py).
    """
    scales = torch.empty(x.shape[0], dtype=torch.float32)
    codes = torch.empty(x.shape, dtype=torch.int8)
    _outliers = x.abs() >= THRESHOLD
    return codes, scales


def _scaled(products: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Stands in for `int8_mm_dequant`, whose kernel writes fp16; the result is cast to `dtype`."""
    return torch.empty_like(products, dtype=torch.float16).to(dtype)


class Linear8bit(torch.nn.Module):
    """A linear layer whose weight is stored in int8, with a scale for each row."""

    scales: torch.Tensor
    """fp32 scales, `[out]`."""
    W_q = True
    """Mark by which PEFT recognizes a layer that dequantizes itself (peft/utils/integrations.py,
    `dequantize_module_weight`)."""

    def __init__(self, layer: torch.nn.Linear | Conv1D) -> None:
        super().__init__()
        self.out_features, self.in_features = shape_of(layer)
        self.bias = layer.bias
        codes = torch.empty(self.out_features, self.in_features, dtype=torch.int8, device="meta")
        self.weight = torch.nn.Parameter(codes, requires_grad=False)
        self.register_buffer("scales", torch.empty(self.out_features, dtype=torch.float32, device="meta"))

    def dequantize(self) -> torch.Tensor:
        """Returns the fp32 weight, `[out, in]`, as `int8_vectorwise_dequant` does; PEFT calls it."""
        return self.weight * self.scales.view(-1, 1) * (1.0 / 127.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies in int8; the stored bias is cast to the dtype of x for good."""
        if self.bias is not None and self.bias.dtype != x.dtype:
            self.bias.data = self.bias.data.to(x.dtype)
        out: torch.Tensor = _Matmul.apply(x, self)
        return out

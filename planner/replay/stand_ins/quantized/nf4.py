"""Stands in for bitsandbytes' NF4 layer: the same bytes, the same allocations, no kernels."""

from __future__ import annotations

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from planner.libraries.bitsandbytes import BLOCK, SCALE_BLOCK
from planner.replay.stand_ins.shapes import shape_of


class _Matmul(torch.autograd.Function):
    """Stands in for `MatMul4Bit`: dequantizes the weight in forward and again in backward, and saves no tensor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor | None, layer: Linear4bit) -> torch.Tensor:
        ctx.layer = layer
        return torch.nn.functional.linear(x, layer.dequantized(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient @ ctx.layer.dequantized(gradient.dtype), None, None


class Linear4bit(torch.nn.Module):
    """A linear layer whose weight is stored in NF4, two elements per byte.

    Args:
        layer: The layer whose shape and bias it takes.
        compute: Dtype that the weight is dequantized to and multiplied in.
        double: Whether the scales are quantized to 8 bits themselves (double quantization).
    """

    W_q = True
    """Mark by which PEFT recognizes a layer that dequantizes itself (peft/utils/integrations.py,
    `dequantize_module_weight`)."""
    absmax: torch.Tensor
    """Scales, one per block of elements: fp32, or uint8 with double quantization."""
    absmax_of_absmax: torch.Tensor
    """fp32 scales of the scales; it exists only with double quantization."""

    def __init__(
        self, layer: torch.nn.Linear | Conv1D, compute: torch.dtype, double: bool, storage: torch.dtype = torch.uint8
    ) -> None:
        super().__init__()
        elements = layer.weight.numel()
        self.scales = elements // BLOCK
        self.compute, self.quantized_scales = compute, double
        self.shape = self.out_features, self.in_features = shape_of(layer)
        self.bias = layer.bias
        packed = torch.empty(elements // 2 // storage.itemsize, 1, dtype=storage, device="meta")
        self.weight = torch.nn.Parameter(packed, requires_grad=False)
        scale_dtype = torch.uint8 if double else torch.float32
        self.register_buffer("absmax", torch.empty(self.scales, dtype=scale_dtype, device="meta"))
        if double:
            size = -(-self.scales // SCALE_BLOCK)
            self.register_buffer("absmax_of_absmax", torch.empty(size, dtype=torch.float32, device="meta"))
        if storage is not torch.uint8:  # else the loading of the model makes the tables
            for name, number in (("values", 16), *((("mean", 1), ("values_of_scales", 256)) if double else ())):
                self.register_buffer(name, torch.empty(number, dtype=torch.float32, device="meta"))

    def dequantized(self, dtype: torch.dtype) -> torch.Tensor:
        """Returns the weight, `[out, in]`, cast from the compute dtype to `dtype`.

        With double quantization the scales are dequantized to fp32 first, and freed when the weight is made.
        """
        scales = torch.empty(self.scales, dtype=torch.float32) + 1.0 if self.quantized_scales else None
        weight = torch.empty(self.shape, dtype=self.compute)
        del scales
        return weight.to(dtype)

    def dequantize(self) -> torch.Tensor:
        """Returns the weight in the compute dtype, for PEFT, which asks for the packed one first.

        Where ZeRO-3 has divided that, asking gathers it (deepspeed/runtime/zero/parameter_offload.py,
        `ZeROOrderedDict`).
        """
        assert self.weight is not None
        return self.dequantized(self.compute)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies in the compute dtype (bitsandbytes/nn/modules.py, `Linear4bit.forward`).

        The stored bias is cast to that dtype for good.
        """
        given, x = x.dtype, x.to(self.compute)
        if self.bias is not None and self.bias.dtype != x.dtype:
            self.bias.data = self.bias.data.to(x.dtype)
        out: torch.Tensor = _Matmul.apply(x, self.bias, self)
        return out.to(given)

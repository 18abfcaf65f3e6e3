"""Stands in for the layers of GPTQModel and AutoGPTQ that train: the same bytes and allocations, no kernels."""

from __future__ import annotations

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from planner.libraries.gptqmodel import GROUP
from planner.replay.stand_ins.shapes import shape_of


class _Packed(torch.nn.Module):
    """The buffers of a layer whose weight is stored in 4 bits, eight elements per int32.

    Args:
        layer: The layer whose shape and bias it takes.
        half: Dtype of the scales, which is also that of the dequantized weight.
    """

    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor

    def __init__(self, layer: torch.nn.Linear | Conv1D, half: torch.dtype) -> None:
        super().__init__()
        self.out_features, self.in_features = shape_of(layer)
        self.bias, self.scale_dtype = layer.bias, half
        groups, eighth = -(-self.in_features // GROUP), self.out_features // 8
        self.register_buffer("qweight", torch.empty(self.in_features, eighth, dtype=torch.int32, device="meta"))
        self.register_buffer("qzeros", torch.empty(groups, eighth, dtype=torch.int32, device="meta"))
        self.register_buffer("scales", torch.empty(groups, self.out_features, dtype=half, device="meta"))

    def dequantized(self) -> torch.Tensor:
        """Returns the weight, `[in, out]`, in the dtype of the scales; one kernel makes it without temporaries."""
        return torch.empty(self.in_features, self.out_features, dtype=self.scale_dtype)


class _Grouped(_Packed):
    """The buffers of a GPTQ layer."""

    g_idx: torch.Tensor
    """Group of each input, int32, `[in]`."""

    def __init__(self, layer: torch.nn.Linear | Conv1D, half: torch.dtype) -> None:
        super().__init__(layer, half)
        self.register_buffer("g_idx", torch.empty(self.in_features, dtype=torch.int32, device="meta"))


class GptqLinear(_Grouped):
    """A GPTQ layer: it stands in for GPTQModel's `TritonV2Linear`, which trains as `TorchLinear`.

    Autograd keeps the dequantized weight for backward (gptqmodel/nn_modules/qlinear/torch.py). The real packed weight
    is `[in / 8, out]`, AWQ's is `[in, out / 8]`; the stand-in has the latter shape for both, which takes the same
    bytes.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies by the dequantized weight, which is cast to the dtype of x."""
        rows, given = x.reshape(-1, x.shape[-1]), x.dtype
        weight = self.dequantized().to(x.dtype)
        out = torch.matmul(rows, weight).reshape(*x.shape[:-1], self.out_features)
        if self.bias is not None:
            out.add_(self.bias)
        return out.to(given)


class _Triton(torch.autograd.Function):
    """Stands in for AutoGPTQ's `QuantLinearFunction` (auto_gptq/nn_modules/triton_utils/dequant.py).

    The weight is dequantized in forward and again in backward. Autocast casts the input of the product to fp16.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: GptqTritonLinear) -> torch.Tensor:
        ctx.save_for_backward(
            layer.qweight.view(torch.int32), layer.scales, layer.qzeros.view(torch.int32), layer.g_idx
        )
        ctx.layer = layer
        return x.half() @ layer.dequantized()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.dequantized().T, None


class GptqTritonLinear(_Grouped):
    """A GPTQ layer: it stands in for AutoGPTQ's `QuantLinear` (auto_gptq/nn_modules/qlinear/qlinear_tritonv2.py).

    Where FSDP1 shards it, `qweight` and `qzeros` are parameters, viewed in a floating-point dtype
    (fms_acceleration_peft/autogptq_utils.py, `build_patch_to_view_tensor_to_parameter_for_fsdp_gptq`).

    Args:
        layer: The layer whose shape and bias it takes.
        storage: That dtype; any other leaves the weights buffers of int32.
    """

    def __init__(self, layer: torch.nn.Linear | Conv1D, storage: torch.dtype) -> None:
        super().__init__(layer, torch.float16)
        if storage.is_floating_point:
            for name in ("qweight", "qzeros"):
                packed = getattr(self, name).view(storage)
                delattr(self, name)
                self.register_parameter(name, torch.nn.Parameter(packed, requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies in fp16, the dtype of the result."""
        # Autocast is off: CUDA's would meet only fp16 products inside the autograd function.
        with torch.autocast("cpu", enabled=False):
            out: torch.Tensor = _Triton.apply(x.reshape(-1, x.shape[-1]), self)
            out = out.reshape(*x.shape[:-1], self.out_features)
            return out + self.bias.half() if self.bias is not None else out


class _Gemm(torch.autograd.Function):
    """Stands in for `AwqGemmTritonFn` (gptqmodel/nn_modules/qlinear/gemm_awq_triton.py).

    The weight is dequantized in forward, as for more than 128 rows, and again in backward.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: AwqLinear) -> torch.Tensor:
        ctx.save_for_backward(layer.qweight, layer.qzeros, layer.scales)
        ctx.layer, ctx.shape = layer, x.shape
        whole = layer.dequantized()
        out = torch.matmul(x.reshape(-1, x.shape[-1]), whole)
        out = out + layer.bias.half() if layer.bias is not None else out
        return out.reshape(*x.shape[:-1], layer.out_features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        whole = ctx.layer.dequantized().to(gradient.dtype)
        return torch.matmul(gradient.reshape(-1, gradient.shape[-1]), whole.T).reshape(ctx.shape), None


class AwqLinear(_Packed):
    """An AWQ layer: it stands in for `AwqGEMMTritonLinear`."""

    def __init__(self, layer: torch.nn.Linear | Conv1D) -> None:
        super().__init__(layer, torch.float16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies in fp16, whatever the dtype of x, and casts the result back."""
        # Autocast is off: CUDA's would meet only fp16 products inside the autograd function.
        with torch.autocast("cpu", enabled=False):
            given, x = x.dtype, x.half()
            out: torch.Tensor = _Gemm.apply(x, self)
            return out.to(given)

"""Gives PEFT's adapters the forward that they have over quantized layers.

PEFT's own classes for these need the packages that quantize.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch


def as_bitsandbytes(adapter: Any, *, copies: bool) -> None:
    """Makes an adapter run as over a layer of bitsandbytes (peft/tuners/lora/bnb.py).

    Args:
        adapter: The LoRA layer of PEFT whose forward is replaced.
        copies: Whether the base layer's output is copied before anything is added, as PEFT's `Linear4bit` does.
    """

    def forward(self: Any, x: torch.Tensor) -> Any:
        result = self.base_layer(x)
        if copies:
            result = result.clone()
        for name in self.active_adapters:
            converts, expected = not torch.is_autocast_enabled(), result.dtype
            if converts:
                x = self._cast_input_dtype(x, self.lora_A[name].weight.dtype)
            if name in self.lora_variant:
                result = self.lora_variant[name].forward(self, active_adapter=name, x=x, result=result)
                if converts:
                    result = result.to(expected)
            else:
                output = self.lora_B[name](self.lora_A[name](self.lora_dropout[name](x))) * self.scaling[name]
                if converts:
                    output = output.to(expected)
                result = result + output
        return result

    adapter.forward = MethodType(forward, adapter)


def as_awq(adapter: Any) -> None:
    """Makes an adapter run as over a layer of AWQ (peft/tuners/lora/awq.py)."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        result = self.base_layer(x)
        for name in self.active_adapters:
            converts, expected = not torch.is_autocast_enabled(), result.dtype
            if converts:
                x = self._cast_input_dtype(x, self.lora_A[name].weight.dtype)
            output = self.lora_B[name](self.lora_A[name](self.lora_dropout[name](x)))
            if converts:
                output = output.to(expected)
            output = output * self.scaling[name]
            result = result + output
        return result

    adapter.forward = MethodType(forward, adapter)

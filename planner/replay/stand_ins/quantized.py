"""Puts a stand-in in the place of every linear layer of a model that is quantized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from planner.replay.stand_ins.gptqmodel import AwqLinear, GptqLinear
from planner.replay.stand_ins.int8 import Linear8bit
from planner.replay.stand_ins.nf4 import Linear4bit
from planner.replay.stand_ins.peft_forward import as_awq, as_bitsandbytes
from strategies import Quantization


def quantize(model: Any, head: torch.nn.Module | None, compute: torch.dtype, quantization: Quantization) -> None:
    """Every linear layer (GPT-2's Conv1D as well) but the head, the adapters and what the model keeps in fp32; the rest
    in fp32 but with GPTQ, as transformers' `replace_with_bnb_linear` and PEFT's `prepare_model_for_kbit_training` leave
    it. `model`: PEFT's."""
    kept = set(getattr(model.get_base_model(), "_keep_in_fp32_modules", None) or ())
    ends = {id(module) for module in head.modules()} if head is not None else set()
    for path, module in list(model.named_modules()):
        for name, child in list(module.named_children()):
            excluded = id(child) in ends or "lora_" in path or kept.intersection((*path.split("."), name))
            if isinstance(child, torch.nn.Linear | Conv1D) and not excluded:
                setattr(module, name, STAND_INS[quantization](child, compute))
                if name == "base_layer":
                    _adapt(module, quantization)
    for parameter in model.parameters() if quantization is not Quantization.GPTQ else ():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()


def _gptq(layer: torch.nn.Linear | Conv1D, compute: torch.dtype) -> torch.nn.Module:
    return GptqLinear(layer, compute if compute.itemsize == 2 else torch.float16)


STAND_INS: dict[Quantization, Callable[[torch.nn.Linear | Conv1D, torch.dtype], torch.nn.Module]] = {
    Quantization.NF4: lambda layer, compute: Linear4bit(layer, compute, False),
    Quantization.NF4_DOUBLE: lambda layer, compute: Linear4bit(layer, compute, True),
    Quantization.INT8: lambda layer, compute: Linear8bit(layer),
    Quantization.GPTQ: _gptq,
    Quantization.AWQ: lambda layer, compute: AwqLinear(layer),
}
"""Made of a layer, and of the dtype that it computes in."""


def _adapt(adapter: Any, quantization: Quantization) -> None:
    """The adapter's forward; over GPTQ it is that of a layer that is not quantized (peft/tuners/lora/gptq.py)."""
    if quantization is Quantization.AWQ:
        as_awq(adapter)
    elif quantization.by_bitsandbytes:
        as_bitsandbytes(adapter, copies=quantization is not Quantization.INT8)

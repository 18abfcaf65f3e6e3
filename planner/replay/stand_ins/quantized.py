"""Puts a stand-in in the place of every linear layer of a model that is quantized."""

from __future__ import annotations

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
                setattr(module, name, _stand_in(child, compute, quantization))
                if name == "base_layer":
                    _adapt(module, quantization)
    for parameter in model.parameters() if quantization is not Quantization.GPTQ else ():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()


def _stand_in(layer: torch.nn.Linear | Conv1D, compute: torch.dtype, quantization: Quantization) -> torch.nn.Module:
    if quantization is Quantization.INT8:
        return Linear8bit(layer)
    if quantization is Quantization.GPTQ:
        return GptqLinear(layer, compute if compute.itemsize == 2 else torch.float16)
    if quantization is Quantization.AWQ:
        return AwqLinear(layer)
    return Linear4bit(layer, compute, quantization is Quantization.NF4_DOUBLE)


def _adapt(adapter: Any, quantization: Quantization) -> None:
    """The adapter's forward; over GPTQ it is that of a layer that is not quantized (peft/tuners/lora/gptq.py)."""
    if quantization is Quantization.AWQ:
        as_awq(adapter)
    elif quantization.by_bitsandbytes:
        as_bitsandbytes(adapter, copies=quantization is not Quantization.INT8)

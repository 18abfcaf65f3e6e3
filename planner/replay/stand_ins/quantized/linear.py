"""Replaces the linear layers of a model by stand-ins for quantized layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.utils.other import ModulesToSaveWrapper
from transformers.pytorch_utils import Conv1D

from planner.replay.stand_ins.quantized.gptqmodel import AwqLinear, GptqLinear, GptqTritonLinear
from planner.replay.stand_ins.quantized.int8 import Linear8bit
from planner.replay.stand_ins.quantized.nf4 import Linear4bit
from planner.replay.stand_ins.quantized.peft_forward import as_awq, as_bitsandbytes
from strategies import AdapterDtype, Lora, Quantization


def quantize(
    model: Any, head: torch.nn.Module | None, compute: torch.dtype, method: Lora, storage: torch.dtype = torch.uint8
) -> None:
    """Quantizes a model in place, as transformers and PEFT leave it.

    Every linear layer is replaced (GPT-2's Conv1D as well), except the head, the adapters and the modules that the
    model keeps in fp32 (transformers' `replace_with_bnb_linear`). If PEFT prepares the model, all other floating-point
    parameters are cast to fp32 (`prepare_model_for_kbit_training`), except adapters that have another dtype.

    Args:
        model: PEFT's model, with its adapters.
        head: The output layer, which is not quantized; None if the model has none.
        compute: Dtype that the layers compute in.
        method: How the weights are stored, and what is cast.
        storage: Dtype of the elements into which NF4 is packed (`bnb_4bit_quant_storage`); GPTQ's as well, if it is a
            floating-point dtype.
    """
    quantization = method.quantization
    kept = set(getattr(model.get_base_model(), "_keep_in_fp32_modules", None) or ())
    ends = {id(module) for end in _whole(model, head) for module in end.modules()}
    for path, module in list(model.named_modules()):
        for name, child in list(module.named_children()):
            excluded = id(child) in ends or "lora_" in path or kept.intersection((*path.split("."), name))
            if isinstance(child, torch.nn.Linear | Conv1D) and not excluded:
                setattr(module, name, STAND_INS[quantization](child, compute, storage))
                if name == "base_layer":
                    _adapt(module, quantization)
    in_half = method.adapter_dtype is AdapterDtype.WEIGHTS
    packed = {id(module.weight) for module in model.modules() if isinstance(module, Linear4bit)}
    for name, parameter in model.named_parameters() if method.is_prepared else ():
        is_kept = id(parameter) in packed or (in_half and "lora_" in name)
        if parameter.is_floating_point() and not is_kept:
            parameter.data = parameter.data.float()


def _whole(model: Any, head: torch.nn.Module | None) -> list[torch.nn.Module]:
    """Returns what is not quantized: the head, and modules of which PEFT trains copies."""
    copied: list[torch.nn.Module] = [m for m in model.modules() if isinstance(m, ModulesToSaveWrapper)]
    return copied if head is None else [head, *copied]


def _gptq(layer: torch.nn.Linear | Conv1D, compute: torch.dtype, _: torch.dtype) -> torch.nn.Module:
    """Makes a GPTQ layer; its scales are in fp16 where the compute dtype is not a half precision."""
    return GptqLinear(layer, compute if compute.itemsize == 2 else torch.float16)


STAND_INS: dict[Quantization, Callable[[torch.nn.Linear | Conv1D, torch.dtype, torch.dtype], torch.nn.Module]] = {
    Quantization.NF4: lambda layer, compute, storage: Linear4bit(layer, compute, False, storage),
    Quantization.NF4_DOUBLE: lambda layer, compute, storage: Linear4bit(layer, compute, True, storage),
    Quantization.INT8: lambda layer, compute, storage: Linear8bit(layer),
    Quantization.GPTQ: _gptq,
    Quantization.GPTQ_TRITON: lambda layer, compute, storage: GptqTritonLinear(layer, storage),
    Quantization.AWQ: lambda layer, compute, storage: AwqLinear(layer),
}
"""Functions that make the stand-in of each quantization from a layer, the dtype that it computes in, and that of its
storage."""


def _adapt(adapter: Any, quantization: Quantization) -> None:
    """Replaces the adapter's forward by the one that PEFT has for a quantized layer.

    Over GPTQ it stays that of a layer that is not quantized (peft/tuners/lora/gptq.py).
    """
    adapter.fan_in_fan_out = False  # transformers turns the weight of a Conv1D round before it is quantized
    for magnitude in adapter.lora_magnitude_vector.values():
        magnitude.fan_in_fan_out = False
    if quantization is Quantization.AWQ:
        as_awq(adapter)
    elif quantization.by_bitsandbytes:
        as_bitsandbytes(adapter, copies=quantization is not Quantization.INT8)

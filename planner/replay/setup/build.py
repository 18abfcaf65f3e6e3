"""Builds the model of a strategy with the real libraries: kernels, adapters, quantization, checkpointing and FSDP2."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import signature
from typing import Any

import torch

from planner.replay.backend import Backend
from planner.replay.setup.accounts import check
from planner.replay.setup.checkpoints import checkpoint_blocks, choose_blocks
from planner.replay.setup.optimizers import prepare
from planner.replay.stand_ins import compiled, flash, liger
from planner.replay.stand_ins.losses import fused as fused_loss
from planner.replay.stand_ins.losses.chunked import Kernels
from planner.replay.stand_ins.quantized.float8 import convert
from planner.replay.stand_ins.quantized.linear import quantize
from planner.replay.stand_ins.quantized.separate_experts import adapted_apart, separate
from planner.replay.structure import source as subject
from planner.replay.structure.source import EAGER, Source, base_of
from planner.replay.structure.trainable import choose, classifier, modules_to_save, task_type_of
from strategies import (
    AdapterDtype,
    Attention,
    BitFit,
    Freeze,
    Full,
    Lora,
    LoraVariant,
    Precision,
    Quantization,
    ShardingBackend,
    Strategy,
    quantization_of,
)

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""torch's dtype of each dtype of the catalog."""

_OF_GPUS = Kernels()


def half(precision: Precision) -> torch.dtype:
    """Returns the dtype of matrix products, which is fp32 for full precision and TF32."""
    return DTYPES[precision.facts.matmul_dtype]


def stored(precision: Precision, *, trains: bool) -> torch.dtype:
    """Returns the dtype in which the base model's weights are stored; `trains` says whether they are trained."""
    facts = precision.facts
    return torch.float32 if (facts.trained_bytes if trains else facts.frozen_bytes) == 4 else half(precision)


def loaded(strategy: Strategy, *, trains: bool) -> torch.dtype:
    """Returns the dtype of the base model's weights in a strategy; DeepSpeed keeps their fp32 masters apart."""
    if strategy.sharding.backend is ShardingBackend.DEEPSPEED:
        return half(strategy.precision)
    return stored(strategy.precision, trains=trains)


def is_quantized(strategy: Strategy) -> bool:
    """Returns whether the base model's linear layers are quantized (QLoRA)."""
    return quantization_of(strategy.finetuning) is not Quantization.NONE


def is_nf4(strategy: Strategy) -> bool:
    """Returns whether these layers are quantized to NF4, with or without double quantization."""
    return quantization_of(strategy.finetuning).is_nf4


def build(source: Source, strategy: Strategy, backend: Backend) -> Any:
    """Builds the base model on the meta device, and marks its checkpointed blocks and trainable parameters.

    Raises:
        ContradictionError: No replay runs a choice of the strategy.
        PlannerError: The configuration is refused, or the model's code fails.
    """
    check(strategy)
    dtype = loaded(strategy, trains=isinstance(strategy.finetuning, Full))
    attention = strategy.attention
    sdpa = backend.sdpa
    plain = {Attention.EAGER: EAGER, Attention.SDPA: sdpa, Attention.SDPA_EFFICIENT: sdpa}
    implementation = {**plain, **flash.IMPLEMENTATIONS}[attention]
    model = subject.build(source, dtype, implementation)
    choose_blocks(model, strategy.checkpointing)
    if isinstance(strategy.finetuning, Freeze | BitFit):
        choose(model, strategy.finetuning, loaded(strategy, trains=True))
    return model


def equip(model: Any, strategy: Strategy, kernels: Kernels = _OF_GPUS) -> Any:
    """Gives a base model its kernels, loss, adapters, quantization and checkpointing.

    Args:
        model: What `build` returned, perhaps shortened; it is changed in place.
        strategy: The strategy.
        kernels: Which kernels the device has for a loss of a library.

    Returns:
        The model as a training script has it before it is placed on a device: PEFT's wrapper where there are adapters.
    """
    method = strategy.finetuning
    prepare(strategy.optimizer)
    liger.patch(model, strategy.kernels)
    fused_loss.fuse(model, strategy.loss, kernels)
    if isinstance(method, Lora):
        if method.separates_experts:
            separate(model)
        with adapted_apart() if method.separates_experts else nullcontext():
            model = _adapted(model, method)
        if is_quantized(strategy):
            compute = half(strategy.precision)
            storage = compute if strategy.sharding.shards else torch.uint8
            quantize(model, head_of(base_of(model)), compute, method, storage)
    if strategy.precision.facts.linear_dtype == "fp8":
        convert(model)
    compiled.compile_blocks(model, strategy.kernels)
    if strategy.checkpointing.recomputes:
        checkpoint_blocks(model, strategy.checkpointing, adapted=isinstance(method, Lora))
    return model


def _adapted(model: Any, method: Lora) -> Any:
    """Wraps a model in PEFT's, with adapters."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=method.rank,
        target_modules=_targets(model, method),
        lora_dropout=method.dropout,
        use_rslora=method.variant is LoraVariant.RSLORA,
        use_dora=method.variant is LoraVariant.DORA,
        task_type=task_type_of(model),
        modules_to_save=modules_to_save(model, method.trained_modules) or None,
    )
    in_fp32 = method.adapter_dtype is AdapterDtype.FP32
    # PEFT fills adapters with numbers before it moves them to their base's device, which takes long. Those that are on
    # the meta device it does not move, nor does it cast them to their base's dtype.
    with torch.device(next(model.parameters()).device) if in_fp32 else nullcontext():
        return get_peft_model(model, settings, autocast_adapter_dtype=in_fp32)


def _targets(model: Any, method: Lora) -> str | list[str]:
    """Returns PEFT's `target_modules`.

    For models of transformers PEFT resolves "all-linear" itself: every linear layer but the head. It cannot adapt
    layers that return more than a tensor (Llama 4's router), and refuses one of Mamba: the others are named then.
    """
    if not isinstance(method.targets, str):
        return list(method.targets)
    adapted = linear_layers(model)
    is_resolved = hasattr(model, "main_input_name") and len(adapted) == len(_all_linear(model))
    return method.targets if is_resolved else adapted


def _returns_more(module: torch.nn.Module) -> bool:
    """Returns whether a linear layer overrides forward without the annotation `torch.Tensor` (Falcon's has it)."""
    forward = type(module).forward
    if not isinstance(module, torch.nn.Linear) or forward is torch.nn.Linear.forward:
        return False
    return signature(forward, eval_str=True).return_annotation is not torch.Tensor


def linear_layers(model: Any) -> list[str]:
    """Returns the paths of all linear layers that PEFT can adapt, which excludes the head."""
    return [path for path, m in _all_linear(model).items() if not _returns_more(m) and not _is_refused(path, model)]


def refused_layers(model: Any) -> list[str]:
    """Returns the paths of the linear layers that PEFT refuses to adapt."""
    return [path for path in _all_linear(model) if _is_refused(path, model)]


def _all_linear(model: Any) -> dict[str, torch.nn.Linear]:
    """Returns all linear layers but the head, by their paths."""
    head = head_of(model)
    own = set(head.modules()) if head is not None else set()
    return {path: m for path, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m not in own}


def _is_refused(path: str, model: Any) -> bool:
    """Returns whether PEFT refuses to adapt a layer of this name.

    It does for the output projection of Mamba's blocks, whose weight the fused kernels read past the adapter
    (peft/tuners/tuners_utils.py, `_check_lora_target_modules_mamba`).
    """
    from peft import LoraConfig
    from peft.tuners import tuners_utils

    try:
        tuners_utils._check_lora_target_modules_mamba(LoraConfig(), model, path.rpartition(".")[2])
    except ValueError:
        return True
    return False


def head_of(base: Any) -> Any:
    """Returns the output layer, which is never quantized or adapted; None for a model that has none.

    It is the head of a classifier that PEFT trains, which a quantized base leaves out by `llm_int8_skip_modules`: else
    PEFT cannot train a copy of it. A module of a user's own ends with its last linear layer, and so does a model of
    transformers whose last layer has no bias: the name of a bias is that of no layer (transformers/quantizers/base.py,
    `get_keys_to_not_convert`; peft/tuners/tuners_utils.py, `_maybe_include_all_linear_layers`).
    """
    of_transformers = hasattr(base, "get_output_embeddings")
    head = base.get_output_embeddings() if of_transformers else None
    if head is None and task_type_of(base) is not None:
        head = classifier(base)
    if head is not None:
        return head
    last = next((m for m in reversed(list(base.modules())) if isinstance(m, torch.nn.Linear)), None)
    return None if last is not None and of_transformers and last.bias is not None else last

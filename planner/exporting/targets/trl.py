"""Writes a run of TRL's `trl sft`: TRL 1.16."""

from __future__ import annotations

from typing import Any

from planner.exporting.launch import ACCELERATE, DEEPSPEED, IN_FULL, REQUIREMENTS, SCRIPT, Launch, Target
from planner.exporting.shared import packages
from planner.exporting.shared.engine import accelerate_yaml, deepspeed_json, synced
from planner.exporting.shared.optimizers import trainer_optimizer
from strategies import (
    Batching,
    Checkpointing,
    Finetuning,
    Kernels,
    LoraVariant,
    Loss,
    Precision,
    Quantization,
    ShardingBackend,
)

RECIPE = "sft.yaml"
_FOUR_BITS = (Quantization.NF4, Quantization.NF4_DOUBLE)
_REENTRANT = {Checkpointing.FULL: False, Checkpointing.FULL_REENTRANT: True, Checkpointing.OFFLOAD: False}


def files(launch: Launch) -> dict[str, str]:
    """Returns the recipe, the launcher's file, DeepSpeed's JSON where it is needed, and a script."""
    launcher = {ACCELERATE: accelerate_yaml(launch)}
    if launch.backend is ShardingBackend.DEEPSPEED:
        launcher[DEEPSPEED] = deepspeed_json(launch)
    return {
        RECIPE: launch.yaml(_recipe(launch)),
        **launcher,
        SCRIPT: launch.script(f"trl sft --config {RECIPE} --accelerate_config {ACCELERATE}"),
        REQUIREMENTS: packages.requirements(
            launch, packages.TORCH, packages.TRANSFORMERS, packages.ACCELERATE, packages.PEFT, packages.TRL
        ),
    }


def _recipe(launch: Launch) -> dict[str, Any]:
    request, plan = launch.request, launch.plan
    return {
        "model_name_or_path": launch.model,
        "dtype": _dtype(launch),
        "attn_implementation": launch.attention(),
        "dataset_name": launch.dataset or "trl-lib/Capybara",
        "output_dir": "output",
        "max_length": request.sequence_length,
        **_batching(request.batching),
        "per_device_train_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "eval_strategy": "steps" if request.evaluation_batch_size else "no",
        "per_device_eval_batch_size": request.evaluation_batch_size,
        "bf16": launch.half == "bf16",
        "fp16": launch.half == "fp16",
        "tf32": True if launch.strategy.precision is Precision.TF32 else None,
        **trainer_optimizer(launch),
        **_loss(launch),
        **_checkpointing(launch),
        **_adapters(launch),
        "accelerator_config": synced(launch),
    }


def _dtype(launch: Launch) -> str:
    """Returns the dtype of loading: half precision for a frozen base, under DeepSpeed, and where it trains so."""
    strategy = launch.strategy
    is_half = strategy.finetuning is not Finetuning.FULL or strategy.precision in IN_FULL
    if launch.half and (is_half or launch.backend is ShardingBackend.DEEPSPEED):
        return "bfloat16" if launch.half == "bf16" else "float16"
    return "float32"


def _batching(batching: Batching) -> dict[str, Any]:
    if batching is Batching.PADDED:
        return {"packing": False}
    return {"packing": True, "packing_strategy": "wrapped" if batching is Batching.FULL else "bfd"}


def _loss(launch: Launch) -> dict[str, Any]:
    kernels, loss = launch.strategy.kernels, launch.strategy.loss
    if loss is not Loss.CHUNKED:
        raise launch.cannot_say(f"loss {loss}: its SFTTrainer always makes the logits in tiles", "--loss chunked")
    if kernels is Kernels.COMPILE:
        raise launch.cannot_say("kernels compile: torch_compile compiles the whole model")
    return {"use_liger_kernel": kernels is Kernels.LIGER, "loss_type": "nll"}


def _checkpointing(launch: Launch) -> dict[str, Any]:
    choice, every = launch.strategy.checkpointing, launch.strategy.checkpoint_every or 1
    if choice is Checkpointing.NONE:
        return {"gradient_checkpointing": False}
    if choice not in _REENTRANT:
        raise launch.cannot_say(f"checkpointing {choice}")
    if choice is Checkpointing.OFFLOAD or every > 1:
        kwargs = {
            "use_reentrant": _REENTRANT[choice],
            "offload": choice is Checkpointing.OFFLOAD,
            "every_n_layers": every,
        }
        return {"activation_checkpointing": True, "activation_checkpointing_kwargs": kwargs}
    kwargs = {"use_reentrant": _REENTRANT[choice]}
    return {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": kwargs}


def _adapters(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    if strategy.finetuning is Finetuning.FULL:
        return {"use_peft": False}
    if strategy.finetuning not in (Finetuning.LORA, Finetuning.QLORA):
        raise launch.cannot_say(f"finetuning {strategy.finetuning}")
    quantization = strategy.quantization
    if quantization not in (Quantization.NONE, *_FOUR_BITS, Quantization.INT8):
        raise launch.cannot_say(f"quantization {quantization}")
    assert strategy.lora_rank is not None
    return {
        "use_peft": True,
        "load_in_4bit": quantization in _FOUR_BITS,
        "load_in_8bit": quantization is Quantization.INT8,
        "use_bnb_nested_quant": quantization is Quantization.NF4_DOUBLE,
        # bitsandbytes' own storage, bytes, is not divided.
        "bnb_4bit_quant_storage": "bfloat16" if launch.backend and quantization in _FOUR_BITS else None,
        "lora_r": strategy.lora_rank,
        "lora_alpha": 2 * strategy.lora_rank,
        "lora_dropout": strategy.lora_dropout or 0.0,
        "lora_target_modules": launch.targets() or "all-linear",
        "lora_modules_to_save": launch.modules_to_save(),
        "use_dora": strategy.lora_variant is LoraVariant.DORA,
        "use_rslora": strategy.lora_variant is LoraVariant.RSLORA,
    }


TARGET = Target("trl", "TRL 1.16: sft.yaml, accelerate.yaml, run.sh", files, (RECIPE, ACCELERATE))

"""Writes a training script of transformers' Trainer: transformers 5.24, accelerate 1.15."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from planner.exporting import packages
from planner.exporting.engine import accelerate_yaml, deepspeed_json
from planner.exporting.launch import ACCELERATE, DEEPSPEED, REQUIREMENTS, SCRIPT, Launch, Target
from planner.exporting.optimizers import trainer_optimizer
from strategies import (
    AdapterDtype,
    Checkpointing,
    Finetuning,
    GradientSync,
    Kernels,
    LoraVariant,
    Loss,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    Task,
    TrainedModules,
    UnquantizedDtype,
)

RECIPE, PROGRAM, CONFIG = "train.yaml", "train.py", "config.json"
PREDICTED = "predicted.json"
HELPERS = ("model.py", "data.py", "measure.py")
_FOUR_BITS = (Quantization.NF4, Quantization.NF4_DOUBLE)
_LONG = {"bf16": "bfloat16", "fp16": "float16", None: "float32"}
_LIGER = ("rope", "rms_norm", "swiglu", "geglu")
"""Liger's kernels that are no loss; `_apply_liger_kernel_to_instance` takes those that the model has."""


def files(launch: Launch) -> dict[str, str]:
    """Returns the script with its recipe, the launcher's file, what is predicted, and what random weights need."""
    mixed = _autocast(launch)
    made = {RECIPE: launch.yaml(_recipe(launch)), PROGRAM: program(launch, "train_transformers.py")}
    made |= {name: program(launch, name) for name in HELPERS}
    made[ACCELERATE] = accelerate_yaml(launch, mixed or "no")
    if launch.backend is ShardingBackend.DEEPSPEED:
        made[DEEPSPEED] = deepspeed_json(launch)
    if launch.random_weights:
        made[CONFIG] = json.dumps(launch.described.source, indent=2) + "\n"
    required = (packages.TORCH, packages.TRANSFORMERS, packages.ACCELERATE)
    return {
        **made,
        PREDICTED: predicted(launch),
        SCRIPT: launch.script(f'accelerate launch --config_file {ACCELERATE} {PROGRAM} "$@"'),
        REQUIREMENTS: packages.requirements(launch, *required),
    }


def program(launch: Launch, name: str) -> str:
    """Returns a script of this folder, with the comment of the launch on top."""
    return launch.comment() + resources.files(__package__).joinpath("scripts", name).read_text()


def predicted(launch: Launch) -> str:
    """Returns what the plan predicts, for the script to write beside what it measures."""
    plan = launch.plan
    said = {
        "model": launch.request.model,
        "gpu": launch.request.gpu,
        "gpus": launch.ranks,
        "global_batch_size": plan.global_batch_size,
        "allocated_bytes": plan.memory.allocated_bytes,
        "reserved_bytes": plan.memory.reserved_bytes,
        "process_bytes": plan.memory.process_bytes,
        "step_seconds": plan.time.step_seconds,
        "step_seconds_low": plan.time.step_seconds_low,
        "step_seconds_high": plan.time.step_seconds_high,
    }
    return json.dumps(said, indent=2) + "\n"


def _recipe(launch: Launch) -> dict[str, Any]:
    request, plan = launch.request, launch.plan
    if request.task not in (None, Task.CAUSAL_LM):
        raise launch.cannot_say(f"task {request.task}")
    return {
        **_model(launch),
        "attn_implementation": launch.attention(),
        "train_data": launch.dataset,
        "eval_data": launch.dataset if request.evaluation_batch_size else None,
        "sequence_length": request.sequence_length,
        "batching": request.batching.value,
        **_precision(launch),
        **_finetuning(launch),
        "output_dir": "output",
        "per_device_train_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        **_evaluation(launch),
        "dataloader_drop_last": True,
        "remove_unused_columns": False,
        **trainer_optimizer(launch),
        **_checkpointing(launch),
        **_kernels(launch),
        **_engine(launch),
        **_course(launch),
    }


def _model(launch: Launch) -> dict[str, Any]:
    return {"config_file": CONFIG} if launch.random_weights else {"model_name_or_path": launch.model}


def _autocast(launch: Launch) -> str | None:
    """Returns the dtype of autocast; None without it."""
    precision = launch.strategy.precision
    if precision is Precision.FP8_MIXED:
        raise launch.cannot_say("precision fp8-mixed")
    # DeepSpeed computes in half precision in either case.
    mixed = precision in (Precision.BF16_MIXED, Precision.FP16_MIXED) or launch.backend is ShardingBackend.DEEPSPEED
    return launch.half if mixed else None


def _precision(launch: Launch) -> dict[str, Any]:
    """Returns the dtype of loading, in which what is frozen stays, and the mixed precision."""
    strategy, mixed = launch.strategy, _autocast(launch)
    is_half = strategy.finetuning is not Finetuning.FULL or mixed is None
    is_half = is_half or launch.backend is ShardingBackend.DEEPSPEED
    return {
        "dtype": _LONG[launch.half if is_half else None],
        "bf16": mixed == "bf16",
        "fp16": mixed == "fp16",
        "tf32": True if strategy.precision is Precision.TF32 else None,
    }


def _finetuning(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    if strategy.finetuning is Finetuning.FULL:
        return {"use_peft": False}
    if strategy.finetuning in (Finetuning.FREEZE, Finetuning.BITFIT):
        return {
            "train_last_blocks": strategy.trained_blocks,
            "train_modules": _modules(launch),
            "train_biases_only": strategy.finetuning is Finetuning.BITFIT,
            "trained_dtype": "float32" if _autocast(launch) else _LONG[launch.half],
        }
    if strategy.quantization not in (Quantization.NONE, *_FOUR_BITS, Quantization.INT8):
        raise launch.cannot_say(f"quantization {strategy.quantization}")
    assert strategy.lora_rank is not None
    halved = strategy.adapter_dtype is AdapterDtype.WEIGHTS
    return {
        "use_peft": True,
        "lora_r": strategy.lora_rank,
        "lora_alpha": 2 * strategy.lora_rank,
        "lora_dropout": strategy.lora_dropout or 0.0,
        "lora_target_modules": launch.targets() or "all-linear",
        "train_modules": _modules(launch),
        "use_dora": strategy.lora_variant is LoraVariant.DORA,
        "use_rslora": strategy.lora_variant is LoraVariant.RSLORA,
        "adapter_dtype": _LONG[launch.half if halved else None],
        **_quantization(launch),
    }


def _quantization(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    quantization = strategy.quantization
    if quantization is Quantization.NONE:
        return {}
    four = quantization in _FOUR_BITS
    computed = _LONG[launch.half]
    return {
        "load_in_4bit": four,
        "load_in_8bit": not four,
        "use_bnb_nested_quant": quantization is Quantization.NF4_DOUBLE,
        "bnb_4bit_compute_dtype": computed if four else None,
        # bitsandbytes' own storage, bytes, is not divided.
        "bnb_4bit_quant_storage": (computed if launch.backend else "uint8") if four else None,
        "prepare_for_kbit_training": strategy.unquantized_dtype is UnquantizedDtype.FP32,
    }


def _modules(launch: Launch) -> list[str] | None:
    which = launch.strategy.trained_modules or TrainedModules.NONE
    return [*(["embeddings"] if which.embeddings else ()), *(["head"] if which.head else ())] or None


def _evaluation(launch: Launch) -> dict[str, Any]:
    size = launch.request.evaluation_batch_size
    if size is None:
        return {"eval_strategy": "no"}
    return {
        "eval_strategy": "steps",
        "eval_steps": 100,
        "per_device_eval_batch_size": size,
        "prediction_loss_only": True,
    }


def _checkpointing(launch: Launch) -> dict[str, Any]:
    choice, every = launch.strategy.checkpointing, launch.strategy.checkpoint_every or 1
    if choice is Checkpointing.NONE:
        return {"activation_checkpointing": False}
    if choice not in (Checkpointing.FULL, Checkpointing.FULL_REENTRANT, Checkpointing.OFFLOAD):
        raise launch.cannot_say(f"checkpointing {choice}")
    kwargs: dict[str, Any] = {"use_reentrant": choice is Checkpointing.FULL_REENTRANT}
    if choice is Checkpointing.OFFLOAD:
        kwargs["offload"] = True
    if every > 1:
        kwargs["every_n_layers"] = every
    return {"activation_checkpointing": True, "activation_checkpointing_kwargs": kwargs}


def _kernels(launch: Launch) -> dict[str, Any]:
    kernels, loss = launch.strategy.kernels, launch.strategy.loss
    if loss is Loss.CHUNKED:
        raise launch.cannot_say("loss chunked, which is TRL's", "--loss liger-fused-linear, or --to trl")
    said: dict[str, Any] = {"compile_blocks": kernels is Kernels.COMPILE}
    if kernels is not Kernels.LIGER and loss is Loss.FULL:
        return {**said, "use_liger_kernel": False}
    config: dict[str, bool] = {
        "cross_entropy": loss is Loss.LIGER_CROSS_ENTROPY,
        "fused_linear_cross_entropy": loss is Loss.LIGER_FUSED_LINEAR,
        **dict.fromkeys(_LIGER, kernels is Kernels.LIGER),
    }
    return {**said, "use_liger_kernel": True, "liger_kernel_config": config}


def _engine(launch: Launch) -> dict[str, Any]:
    each = launch.strategy.gradient_sync is GradientSync.EACH and launch.backend is not ShardingBackend.DEEPSPEED
    replicated = launch.ranks > 1 and launch.strategy.sharding is Sharding.NO_SHARD
    synced = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    return {
        "accelerator_config": synced if each else None,
        "ddp_find_unused_parameters": False if replicated else None,
    }


def _course(launch: Launch) -> dict[str, Any]:
    """Returns what memory and time do not depend on."""
    adapted = launch.strategy.finetuning in (Finetuning.LORA, Finetuning.QLORA)
    said = {"logging_steps": 1, "save_strategy": "no" if launch.random_weights else "steps", "report_to": "none"}
    if launch.random_weights:
        return {"learning_rate": 0.01 if adapted else 0.001, "lr_scheduler_type": "constant", "max_steps": 8, **said}
    return {"learning_rate": 0.0002 if adapted else 0.00002, "num_train_epochs": 1, **said}


TARGET = Target(
    "transformers",
    "transformers 5.24: train.py with train.yaml, accelerate.yaml, run.sh",
    files,
    (RECIPE, ACCELERATE),
    makes_weights=True,
)

"""Writes a run of LLaMA-Factory: LLaMA-Factory 0.9.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.exporting.launch import ACCELERATE, DEEPSPEED, REQUIREMENTS, SCRIPT, VARIANTS, Launch, Target
from planner.exporting.shared.engine import accelerate_yaml, deepspeed_json, synced
from planner.exporting.shared.optimizers import trainer_optimizer
from planner.exporting.shared.packages import requirements
from strategies import (
    Attention,
    Batching,
    Checkpointing,
    Finetuning,
    Kernels,
    Loss,
    Optimizer,
    Precision,
    Quantization,
    ShardingBackend,
    TrainedModules,
    Update,
)

RECIPE = "sft.yaml"
_ATTENTIONS = {
    Attention.EAGER: "disabled",
    Attention.SDPA: "sdpa",
    Attention.FLASH_2: "fa2",
    Attention.FLASH_3: "fa3",
}
_LOW_RANK = {Optimizer.GALORE: "galore", Optimizer.APOLLO: "apollo", Optimizer.APOLLO_MINI: "apollo"}
_BITS = {Quantization.NF4: 4, Quantization.NF4_DOUBLE: 4, Quantization.INT8: 8}


def files(launch: Launch) -> dict[str, str]:
    """Returns the recipe, the launcher's file, DeepSpeed's JSON where it is needed, and a script."""
    made = {RECIPE: launch.yaml(_recipe(launch))}
    command = f"FORCE_TORCHRUN=1 NPROC_PER_NODE={launch.ranks} llamafactory-cli train {RECIPE}"
    if launch.backend is ShardingBackend.DEEPSPEED:
        made[DEEPSPEED] = deepspeed_json(launch)
    elif launch.backend is not None:
        command = f"accelerate launch --config_file {ACCELERATE} -m llamafactory.launcher {RECIPE}"
    made[ACCELERATE] = accelerate_yaml(launch)
    return {**made, SCRIPT: launch.script(command), REQUIREMENTS: requirements(launch, "llamafactory==0.9.5")}


def _recipe(launch: Launch) -> dict[str, Any]:
    request, plan = launch.request, launch.plan
    return {
        "model_name_or_path": launch.model,
        "stage": "sft",
        "do_train": True,
        "dataset": launch.dataset or "identity",
        "template": "default",
        "output_dir": "output",
        "flash_attn": _attention(launch),
        "cutoff_len": request.sequence_length,
        "packing": request.batching is not Batching.PADDED,
        "neat_packing": request.batching is Batching.PACKED,
        "per_device_train_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "val_size": 0.05 if request.evaluation_batch_size else None,
        "per_device_eval_batch_size": request.evaluation_batch_size,
        **_precision(launch),
        **_optimizer(launch),
        **_checkpointing(launch),
        **_kernels(launch),
        **_finetuning(launch),
        "accelerator_config": synced(launch),
        "deepspeed": DEEPSPEED if launch.backend is ShardingBackend.DEEPSPEED else None,
    }


def _attention(launch: Launch) -> str:
    if launch.strategy.attention not in _ATTENTIONS:
        raise launch.cannot_say(f"attention {launch.strategy.attention}")
    return _ATTENTIONS[launch.strategy.attention]


def _precision(launch: Launch) -> dict[str, Any]:
    if launch.strategy.precision is Precision.BF16_TRUE:
        return {"pure_bf16": True}
    tf32 = True if launch.strategy.precision is Precision.TF32 else None
    return {"bf16": launch.half == "bf16", "fp16": launch.half == "fp16", "tf32": tf32}


def _optimizer(launch: Launch) -> Mapping[str, Any]:
    strategy = launch.strategy
    if strategy.optimizer is Optimizer.ADAM_MINI:
        return {"use_adam_mini": True}
    if strategy.optimizer is Optimizer.MUON:
        return {"use_muon": True}
    if strategy.optimizer not in _LOW_RANK:
        return trainer_optimizer(launch)
    name = _LOW_RANK[strategy.optimizer]
    layerwise = strategy.update is Update.IN_BACKWARD
    # train/trainer_utils.py refuses adamw_torch_fused, the default of transformers, beside these.
    said: dict[str, Any] = {f"use_{name}": True, f"{name}_rank": strategy.optimizer_rank}
    if strategy.optimizer is Optimizer.APOLLO_MINI:  # apollo_torch's README, "APOLLO-Mini"
        said |= {"apollo_rank": 1, "apollo_scale_type": "tensor"}
    return {**said, f"{name}_layerwise": layerwise, f"{name}_target": "all", "optim": "adamw_torch"}


def _checkpointing(launch: Launch) -> dict[str, Any]:
    choice = launch.strategy.checkpointing
    if choice not in (Checkpointing.NONE, Checkpointing.FULL, Checkpointing.FULL_REENTRANT):
        raise launch.cannot_say(f"checkpointing {choice}")
    on = choice is not Checkpointing.NONE
    reentrant = choice is Checkpointing.FULL_REENTRANT if on else None
    return {"disable_gradient_checkpointing": not on, "use_reentrant_gc": reentrant}


def _kernels(launch: Launch) -> dict[str, Any]:
    kernels, loss = launch.strategy.kernels, launch.strategy.loss
    pair = (kernels, loss)
    if pair not in ((Kernels.EAGER, Loss.FULL), (Kernels.LIGER, Loss.LIGER_FUSED_LINEAR)):
        raise launch.cannot_say(f"kernels {kernels} with loss {loss}", "enable_liger_kernel switches both on")
    return {"enable_liger_kernel": kernels is Kernels.LIGER}


def _freeze(launch: Launch) -> dict[str, Any]:
    which = launch.strategy.trained_modules or TrainedModules.NONE
    if which.head and launch.described.architecture.tie_word_embeddings:
        raise launch.cannot_say(f"trained-modules {which}: it finds no head that shares the embedding's weight")
    return {
        "finetuning_type": "freeze",
        "freeze_trainable_layers": launch.strategy.trained_blocks,
        "freeze_extra_modules": ",".join(launch.modules_to_save() or ()) or None,
    }


def _finetuning(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    if strategy.finetuning is Finetuning.FULL:
        return {"finetuning_type": "full"}
    if strategy.finetuning is Finetuning.FREEZE:
        return _freeze(launch)
    if strategy.finetuning not in (Finetuning.LORA, Finetuning.QLORA):
        raise launch.cannot_say(f"finetuning {strategy.finetuning}")
    quantization = strategy.quantization
    if quantization is not Quantization.NONE and quantization not in _BITS:
        raise launch.cannot_say(f"quantization {quantization}")
    assert strategy.lora_rank is not None
    four = _BITS.get(quantization) == 4
    return {
        "finetuning_type": "lora",
        "quantization_bit": _BITS.get(quantization),
        "double_quantization": quantization is Quantization.NF4_DOUBLE if four else None,
        "lora_rank": strategy.lora_rank,
        "lora_alpha": 2 * strategy.lora_rank,
        "lora_dropout": strategy.lora_dropout or 0.0,
        "lora_target": ",".join(launch.targets() or ["all"]),
        "additional_target": ",".join(launch.modules_to_save() or ()) or None,
        **{f"use_{name}": True for variant, name in VARIANTS.items() if strategy.lora_variant is variant},
    }


TARGET = Target("llama-factory", "LLaMA-Factory 0.9.5: sft.yaml, accelerate.yaml, run.sh", files, (RECIPE, ACCELERATE))

"""Writes a training script of transformers' Trainer: transformers 5.24, accelerate 1.15."""

from __future__ import annotations

from typing import Any

from planner.exporting.launch import ACCELERATE, DEEPSPEED, REQUIREMENTS, SCRIPT, Launch, Target
from planner.exporting.shared import packages, settings
from planner.exporting.shared.engine import accelerate_yaml, deepspeed_json, synced
from planner.exporting.shared.optimizers import trainer_optimizer
from strategies import Checkpointing, Precision, Sharding, ShardingBackend, Task


def files(launch: Launch) -> dict[str, str]:
    """Returns the script with its recipe, the launcher's file, what is predicted, and what random weights need."""
    made = {settings.RECIPE: launch.yaml(_recipe(launch)), **settings.scripts(launch, "train_transformers.py")}
    made[ACCELERATE] = accelerate_yaml(launch, settings.autocast(launch) or "no")
    if launch.backend is ShardingBackend.DEEPSPEED:
        made[DEEPSPEED] = deepspeed_json(launch)
    nodes = ' --machine_rank "$NODE_RANK" --main_process_ip "$MASTER_ADDR" --main_process_port "$MASTER_PORT"'
    where = nodes if launch.request.nodes > 1 else ""
    required = (packages.TORCH, packages.TRANSFORMERS, packages.ACCELERATE, packages.DATASETS)
    return {
        **made,
        SCRIPT: launch.script(f'accelerate launch --config_file {ACCELERATE}{where} {settings.PROGRAM} "$@"'),
        REQUIREMENTS: packages.requirements(launch, *required),
    }


def _recipe(launch: Launch) -> dict[str, Any]:
    plan, mixed = launch.plan, settings.autocast(launch)
    kernels = settings.liger(launch)
    return {
        **settings.run(launch),
        "bf16": mixed == "bf16",
        "fp16": mixed == "fp16",
        "tf32": True if launch.strategy.precision is Precision.TF32 else None,
        "output_dir": "output",
        "per_device_train_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        **_evaluation(launch),
        "dataloader_drop_last": True,
        "remove_unused_columns": False,
        **trainer_optimizer(launch),
        **_checkpointing(launch),
        "use_liger_kernel": kernels is not None,
        "liger_kernel_config": kernels,
        **_engine(launch),
        **_course(launch),
    }


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


def _engine(launch: Launch) -> dict[str, Any]:
    replicated = launch.ranks > 1 and launch.strategy.sharding is Sharding.NO_SHARD
    # An embedding model has a pooler of its own, which no sentence's embedding comes out of.
    unused = settings.task_of(launch) is Task.CONTRASTIVE
    return {
        "accelerator_config": synced(launch),
        "ddp_find_unused_parameters": unused if replicated else None,
    }


def _course(launch: Launch) -> dict[str, Any]:
    """Returns what memory and time do not depend on."""
    said: dict[str, Any] = {"learning_rate": settings.learning_rate(launch), "logging_steps": 1, "report_to": "none"}
    if launch.random_weights:
        return {**said, "lr_scheduler_type": "constant", "max_steps": 5, "save_strategy": "no"}
    course = {"lr_scheduler_type": "cosine", "warmup_steps": 0.03, "num_train_epochs": 1}
    return {**said, **course, "save_strategy": "steps", "save_total_limit": 2}


TARGET = Target(
    "transformers",
    "transformers 5.24: train.py with train.yaml, accelerate.yaml, run.sh",
    files,
    (settings.RECIPE, ACCELERATE),
    makes_weights=True,
    tasks=settings.TASKS,
    many_nodes=True,
)

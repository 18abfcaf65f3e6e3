"""Writes a training loop of torch's own: one GPU, DDP, ZeroRedundancyOptimizer or FSDP2, torch 2.13."""

from __future__ import annotations

from typing import Any

from planner.exporting.launch import REQUIREMENTS, SCRIPT, Launch, Target
from planner.exporting.shared import packages, settings
from planner.exporting.shared.loop import HELPERS, loop
from planner.readers.exported.loop import OF_SOME_LAYERS, OPTIMIZERS
from strategies import (
    GradientBuckets,
    GradientSync,
    Offload,
    Outputs,
    Sharding,
    ShardingBackend,
    Task,
    Update,
)

_OTHERS = ("sharding.py", *HELPERS)
_OUTPUTS = {Outputs.RELEASED: None, Outputs.KEPT_IN_STEP: "step", Outputs.KEPT: "forward"}


def files(launch: Launch) -> dict[str, str]:
    """Returns the script with its recipe, what it imports, what is predicted, and what random weights need."""
    command = f'{launch.torchrun()} {settings.PROGRAM} "$@"'
    # torch and transformers' models; PEFT and autocast's conversion of outputs are accelerate's.
    required = (packages.TORCH, packages.TRANSFORMERS, packages.ACCELERATE, packages.DATASETS)
    return {
        settings.RECIPE: launch.yaml(_recipe(launch)),
        **settings.scripts(launch, "train_pytorch.py", _OTHERS),
        SCRIPT: launch.script(command if launch.ranks > 1 else f'python {settings.PROGRAM} "$@"'),
        REQUIREMENTS: packages.requirements(launch, *required),
    }


def _recipe(launch: Launch) -> dict[str, Any]:
    plan, strategy, mixed = launch.plan, launch.strategy, settings.autocast(launch)
    in_backward = strategy.update is Update.IN_BACKWARD
    task = settings.task_of(launch)
    if task is not Task.CAUSAL_LM and launch.backend is not None:
        raise launch.cannot_say(f"task {task} with sharding {strategy.sharding}", "--to transformers")
    return {
        **settings.run(launch),
        "micro_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "autocast": settings.LONG[mixed] if mixed else None,
        **loop(launch, OPTIMIZERS if strategy.sharding is Sharding.ZERO1 else (*OPTIMIZERS, *OF_SOME_LAYERS)),
        "update_in_backward": in_backward,
        "max_grad_norm": 0.0 if in_backward else 1.0,
        "keep_outputs": _OUTPUTS[launch.request.outputs],
        **_sharding(launch),
    }


def _sharding(launch: Launch) -> dict[str, Any]:
    strategy, backend = launch.strategy, launch.strategy.sharding_backend
    views = strategy.gradient_buckets is GradientBuckets.VIEWS
    if launch.ranks == 1:
        return {"sharding": Sharding.NO_SHARD.value, "gradient_as_bucket_view": views}
    if strategy.sharding is not Sharding.NO_SHARD and backend in (ShardingBackend.FSDP1, ShardingBackend.DEEPSPEED):
        raise launch.cannot_say(f"sharding by {backend}", "--sharding-backend fsdp2, or --to transformers")
    if strategy.sharding in (Sharding.NO_SHARD, Sharding.ZERO1):
        return {"sharding": strategy.sharding.value, "gradient_as_bucket_view": views}
    hybrid = strategy.sharding is Sharding.HYBRID_SHARD
    return {
        "sharding": strategy.sharding.value,
        "shard_size": launch.plan.strategy.strategy().sharding.ranks(launch.ranks) if hybrid else None,
        "reshard_size": strategy.reshard_size or 0,
        "offload_to_cpu": strategy.offload is Offload.CPU,
        "sync_each_micro_batch": strategy.gradient_sync is GradientSync.EACH,
    }


TARGET = Target(
    "pytorch",
    "torch 2.13: train.py with train.yaml, run.sh",
    files,
    (settings.RECIPE,),
    makes_weights=True,
    tasks=tuple(task for task in settings.TASKS if task is not Task.CONTRASTIVE),
    many_nodes=True,
)

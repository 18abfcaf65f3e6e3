"""Writes a training loop of torch's own: one GPU, DDP, ZeroRedundancyOptimizer or FSDP2, torch 2.13."""

from __future__ import annotations

from typing import Any

from planner.exporting import packages, settings
from planner.exporting.launch import REQUIREMENTS, SCRIPT, Launch, Target
from strategies import (
    Checkpointing,
    Framework,
    GradientBuckets,
    GradientSync,
    Offload,
    Optimizer,
    Outputs,
    Precision,
    Sharding,
    ShardingBackend,
    Task,
    Update,
)

_OTHERS = ("checkpointing.py", "optimizers.py", "sharding.py")
_PLAIN = (
    Optimizer.ADAMW,
    Optimizer.ADAMW_FOREACH,
    Optimizer.SGD,
    Optimizer.SGD_MOMENTUM,
    Optimizer.ADAFACTOR,
    Optimizer.ADAMW_8BIT,
    Optimizer.PAGED_ADAMW_8BIT,
    Optimizer.PAGED_ADAMW_32BIT,
    Optimizer.LION,
    Optimizer.LION_8BIT,
    Optimizer.ADAMW_8BIT_TORCHAO,
    Optimizer.ADAMW_4BIT,
    Optimizer.ADAMW_OFFLOAD,
)
_OPTIMIZERS = (*_PLAIN, Optimizer.MUON, Optimizer.GALORE, Optimizer.APOLLO, Optimizer.APOLLO_MINI)
"""Those that scripts/optimizers.py builds."""
_CHECKPOINTING = (
    Checkpointing.NONE,
    Checkpointing.FULL,
    Checkpointing.FULL_REENTRANT,
    Checkpointing.OFFLOAD,
    Checkpointing.SELECTIVE_MATMULS,
    Checkpointing.SELECTIVE_EVERY_SECOND_MATMUL,
)
_OUTPUTS = {Outputs.RELEASED: None, Outputs.KEPT_IN_STEP: "step", Outputs.KEPT: "forward"}


def files(launch: Launch) -> dict[str, str]:
    """Returns the script with its recipe, what it imports, what is predicted, and what random weights need."""
    nodes, gpus = launch.request.nodes, launch.request.gpus
    where = "--standalone"
    if nodes > 1:
        where = f'--nnodes={nodes} --node_rank="$NODE_RANK" --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT"'
    command = f'torchrun {where} --nproc_per_node={gpus} {settings.PROGRAM} "$@"'
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
    if strategy.framework is not Framework.TRANSFORMERS:
        raise launch.cannot_say(f"framework {strategy.framework}", f"--to {strategy.framework}")
    task = settings.task_of(launch)
    if task is not Task.CAUSAL_LM and launch.backend is not None:
        raise launch.cannot_say(f"task {task} with sharding {strategy.sharding}", "--to transformers")
    return {
        **settings.run(launch),
        "micro_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "evaluation_batch_size": launch.request.evaluation_batch_size,
        "autocast": settings.LONG[mixed] if mixed else None,
        "tf32": strategy.precision is Precision.TF32,
        "liger": settings.liger(launch),
        **_optimizer(launch),
        "update_in_backward": in_backward,
        "max_grad_norm": 0.0 if in_backward else 1.0,
        "keep_outputs": _OUTPUTS[launch.request.outputs],
        **_checkpointing(launch),
        **_sharding(launch),
        **({"max_steps": 5, "output": None} if launch.random_weights else {"epochs": 1, "output": "output"}),
    }


def _optimizer(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    if strategy.optimizer not in _OPTIMIZERS:
        raise launch.cannot_say(f"optimizer {strategy.optimizer}")
    several = strategy.optimizer not in _PLAIN
    if several and strategy.sharding is Sharding.ZERO1:
        raise launch.cannot_say(f"optimizer {strategy.optimizer} with sharding zero1")
    said = {"optimizer": strategy.optimizer.value, "optimizer_rank": strategy.optimizer_rank}
    return {**said, "learning_rate": settings.learning_rate(launch)}


def _checkpointing(launch: Launch) -> dict[str, Any]:
    choice = launch.strategy.checkpointing
    if choice not in _CHECKPOINTING:
        raise launch.cannot_say(f"checkpointing {choice}")
    return {"checkpointing": choice.value, "checkpoint_every": launch.strategy.checkpoint_every or 1}


def _sharding(launch: Launch) -> dict[str, Any]:
    strategy, backend = launch.strategy, launch.strategy.sharding_backend
    if launch.ranks == 1:
        return {"sharding": Sharding.NO_SHARD.value}
    if strategy.sharding is not Sharding.NO_SHARD and backend in (ShardingBackend.FSDP1, ShardingBackend.DEEPSPEED):
        raise launch.cannot_say(f"sharding by {backend}", "--sharding-backend fsdp2, or --to transformers")
    if strategy.sharding in (Sharding.NO_SHARD, Sharding.ZERO1):
        views = strategy.gradient_buckets is GradientBuckets.VIEWS
        return {"sharding": strategy.sharding.value, "gradient_as_bucket_view": views}
    return {
        "sharding": strategy.sharding.value,
        "shard_size": strategy.shard_size or launch.plan.strategy.strategy().sharding.ranks(launch.ranks),
        "reshard_size": strategy.reshard_size or 0,
        "offload_to_cpu": strategy.offload is Offload.CPU,
        "sync_each_micro_batch": strategy.gradient_sync is GradientSync.EACH,
    }


TARGET = Target(
    "pytorch",
    "torch 2.13: train.py with train.yaml, run.sh",
    files,
    (),
    makes_weights=True,
    tasks=tuple(task for task in settings.TASKS if task is not Task.CONTRASTIVE),
    many_nodes=True,
)

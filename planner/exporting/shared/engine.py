"""Writes who divides the model: accelerate's launcher file and DeepSpeed's JSON."""

from __future__ import annotations

import json
from typing import Any

from planner.exporting.launch import DEEPSPEED, Launch
from strategies import GradientSync, Offload, OverlapComm, Sharding, ShardingBackend
from strategies.sharding.deepspeed import LIVE_PARAMETERS, REUSE_DISTANCE, STAGES, SUB_GROUP_SIZE

_OF_STAGE_3 = {
    "stage3_prefetch_bucket_size": "prefetch_bucket",
    "stage3_param_persistence_threshold": "persistence_threshold",
    "stage3_max_live_parameters": "max_live_parameters",
    "stage3_max_reuse_distance": "max_reuse_distance",
    "sub_group_size": "sub_group_size",
}
FILLED_IN = {
    "max_live_parameters": LIVE_PARAMETERS,
    "max_reuse_distance": REUSE_DISTANCE,
    "sub_group_size": SUB_GROUP_SIZE,
}
"""What the planner's 0 stands for; for the other sizes it is "auto"."""


def deepspeed_json(launch: Launch) -> str:
    """Returns DeepSpeed's JSON, with the batch as "auto": transformers fills in what the recipe says."""
    strategy = launch.strategy
    if strategy.sharding not in STAGES:
        raise launch.cannot_say(f"sharding {strategy.sharding} by DeepSpeed")
    zero: dict[str, Any] = {"stage": STAGES[strategy.sharding]}
    if strategy.offload in (Offload.OPTIMIZER, Offload.CPU):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if strategy.offload is Offload.CPU:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    if strategy.overlap_comm not in (None, OverlapComm.AUTO):
        zero["overlap_comm"] = strategy.overlap_comm is OverlapComm.YES
    zero["reduce_bucket_size"] = strategy.reduce_bucket or "auto"
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # else no model is written at the end
        for key, word in _OF_STAGE_3.items():
            zero[key] = getattr(strategy, word) or FILLED_IN.get(word, "auto")
    content = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": launch.half == "bf16"},
        "fp16": {"enabled": launch.half == "fp16"},
        "zero_optimization": zero,
    }
    return json.dumps(content, indent=2) + "\n"


def fsdp_config(launch: Launch) -> dict[str, Any]:
    """Returns the `fsdp_config` of FSDP1 or FSDP2."""
    strategy = launch.strategy
    version = 2 if launch.backend is ShardingBackend.FSDP2 else 1
    said: dict[str, Any] = {"fsdp_version": version, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
    if version == 2:
        if strategy.sharding not in (Sharding.FULL_SHARD, Sharding.SHARD_GRAD_OP):
            raise launch.cannot_say(f"sharding {strategy.sharding} by FSDP2")
        said["fsdp_reshard_after_forward"] = strategy.sharding is Sharding.FULL_SHARD
    else:
        said["fsdp_sharding_strategy"] = strategy.sharding.value.upper()
        said["fsdp_use_orig_params"] = True
        said["fsdp_backward_prefetch"] = "BACKWARD_PRE"
        said["fsdp_forward_prefetch"] = False
    said["fsdp_offload_params"] = strategy.offload is Offload.CPU
    said["fsdp_activation_checkpointing"] = False
    said["fsdp_state_dict_type"] = "SHARDED_STATE_DICT"
    return said


def synced(launch: Launch) -> dict[str, Any] | None:
    """Returns the `accelerator_config` with which FSDP reduces gradients after every micro-batch; None without it."""
    each = launch.strategy.gradient_sync is GradientSync.EACH and launch.backend is not ShardingBackend.DEEPSPEED
    return {"gradient_accumulation_kwargs": {"sync_each_batch": True}} if each else None


def accelerate_yaml(launch: Launch, autocast: str | None = None) -> str:
    """Returns accelerate's launcher file; `autocast` is its mixed precision, by default the plan's half precision."""
    backend = launch.backend
    said: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO" if launch.ranks == 1 else "MULTI_GPU",
        "machine_rank": 0,
        "mixed_precision": autocast or launch.half or "no",
        "num_machines": launch.request.nodes,
        "num_processes": launch.ranks,
    }
    if backend is ShardingBackend.DEEPSPEED:
        zero3 = launch.strategy.sharding is Sharding.FULL_SHARD
        said["distributed_type"] = "DEEPSPEED"
        said["deepspeed_config"] = {"deepspeed_config_file": DEEPSPEED, "zero3_init_flag": zero3}
        if launch.request.nodes > 1:  # else accelerate starts the other nodes by pdsh
            said["deepspeed_config"]["deepspeed_multinode_launcher"] = "standard"
        del said["mixed_precision"]  # accelerate refuses it beside a JSON that says so
    elif backend is not None:
        said["distributed_type"] = "FSDP"
        said["fsdp_config"] = fsdp_config(launch)
    return launch.yaml(said)

"""Reads accelerate's launcher files.

Source of defaults: accelerate 1.15, utils/dataclasses.py and commands/config/config_args.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.frameworks import deepspeed
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out, read_fsdp
from strategies import Sharding

_ZERO = "deepspeed_config"

TABLE = Table(
    decides={
        "distributed_type": "sharding, sharding_backend",
        "num_processes": "gpus",
        "num_machines": "nodes",
        "mixed_precision": "precision",
        **fsdp_decides("fsdp_config"),
        f"{_ZERO}.zero_stage": "sharding, sharding_backend",
        f"{_ZERO}.offload_optimizer_device": "offload",
        f"{_ZERO}.offload_param_device": "offload",
        f"{_ZERO}.gradient_accumulation_steps": "gradient_accumulation_steps",
        f"{_ZERO}.deepspeed_config_file": "all that the JSON says",
    },
    no_word={
        "parallelism_config": "tensor, context or sequence parallelism",
        "dynamo_config.dynamo_backend": "torch.compile of the whole model",
        "dynamo_backend": "torch.compile of the whole model",
        "fp8_config": "fp8 of the launcher",
        "megatron_lm_config": "Megatron-LM",
        "use_cpu": "training on the CPU",
        "tpu_use_cluster": "TPUs",
    },
    idle=words(
        """
        commands command_file mpirun_config compute_environment debug downcast_bf16 machine_rank
        main_process_ip main_process_port
        main_training_function rdzv_backend same_network gpu_ids enable_cpu_affinity deepspeed_hostfile
        """
    )
    | fsdp_idle("fsdp_config"),
    idle_prefixes=("tpu_", "dynamo_", f"{_ZERO}.deepspeed_", f"{_ZERO}.zero3_", f"{_ZERO}.gradient_clipping", "rdzv_"),
    left_out=fsdp_left_out("fsdp_config"),
)


def read(keys: Keys, run: Run) -> None:
    """Says the GPUs, the engine and the mixed precision."""
    reading = keys.reading
    at = keys.place("distributed_type")
    kind = (keys.word("distributed_type") or "NO").upper()
    processes, machines = keys.whole("num_processes"), keys.whole("num_machines") or 1
    if kind in ("NO", "FALSE"):
        processes = machines = 1
    if processes:
        if processes % machines:
            reading.refuse(f"{processes} processes on {machines} machines", keys.place("num_processes"))
        reading.say("gpus", max(1, processes // machines), keys.place("num_processes"))
        reading.say("nodes", machines, keys.place("num_machines"))
    mixed = (keys.word("mixed_precision") or "no").lower()
    if mixed in ("bf16", "fp16"):  # Trainer takes it unless its own arguments say another
        reading.say("launcher precision", mixed, keys.place("mixed_precision"))
    elif mixed not in ("no", "false"):
        reading.refuse(f"{mixed} of the launcher", keys.place("mixed_precision"))
    if kind == "FSDP":
        read_fsdp(keys, "fsdp_config", at, version=1, why="accelerate 1.15, utils/dataclasses.py: fsdp_version 1")
    elif kind == "DEEPSPEED":
        _read_deepspeed(keys, run)
    elif kind in ("NO", "FALSE", "MULTI_GPU"):
        reading.say("sharding", Sharding.NO_SHARD, at)
    else:
        reading.refuse(f"accelerate's {kind}", at)


def _read_deepspeed(keys: Keys, run: Run) -> None:
    reading = keys.reading
    if (file := keys.word(f"{_ZERO}.deepspeed_config_file")) is not None:
        run.refer(file, keys.place(f"{_ZERO}.deepspeed_config_file"))
        return
    stage, at = keys.whole(f"{_ZERO}.zero_stage"), keys.place(f"{_ZERO}.zero_stage")
    if stage is None:
        stage, at = 2, keys.place("distributed_type")  # utils/dataclasses.py, DeepSpeedPlugin.zero_stage
    if stage not in deepspeed.SHARDINGS:
        reading.refuse(f"DeepSpeed with ZeRO stage {stage}", at)
        return
    deepspeed.read_stage(reading, stage, at)
    names = {
        "offload_optimizer": f"{_ZERO}.offload_optimizer_device",
        "offload_param": f"{_ZERO}.offload_param_device",
    }
    devices = {name: keys.word(key) for name, key in names.items()}
    deepspeed.read_offload(reading, devices, {name: keys.place(key) for name, key in names.items()})
    steps = keys.entry(f"{_ZERO}.gradient_accumulation_steps")
    if steps is not None and steps.value != "auto":
        reading.say("deepspeed gradient_accumulation_steps", keys.whole(steps.place.key), steps.place)


READER = Reader("accelerate", "accelerate 1.15", Role.LAUNCHER, TABLE, frozenset({"distributed_type"}), read)

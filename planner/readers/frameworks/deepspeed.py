"""Reads the JSON of DeepSpeed.

Source of defaults: DeepSpeed 0.19, runtime/zero/config.py and runtime/precision_config.py; what "auto" becomes:
transformers/integrations/deepspeed.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.readers.documents.keys import Keys
from planner.readers.documents.reading import Reading
from planner.readers.documents.table import Table, words
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from strategies import Offload, Optimizer, OverlapComm, Sharding, ShardingBackend
from strategies.sharding.deepspeed import AUTO, LIVE_PARAMETERS, REUSE_DISTANCE, STAGES, SUB_GROUP_SIZE

SHARDINGS = {number: sharding for sharding, number in STAGES.items()}

_SIZES = {
    "reduce_bucket": (("reduce_bucket_size",), 500_000_000),
    "prefetch_bucket": (("stage3_prefetch_bucket_size", "prefetch_bucket_size"), 50_000_000),
    "persistence_threshold": (("stage3_param_persistence_threshold", "param_persistence_threshold"), 100_000),
    "max_live_parameters": (("stage3_max_live_parameters", "max_live_parameters"), LIVE_PARAMETERS),
    "max_reuse_distance": (("stage3_max_reuse_distance", "max_reuse_distance"), REUSE_DISTANCE),
    "sub_group_size": (("sub_group_size",), SUB_GROUP_SIZE),
}
"""Names under `zero_optimization` of each option that counts elements, and its default."""
_OF_STAGE_3 = tuple(_SIZES)[1:]
_DEFAULT_UNLESS_SAID = ("max_live_parameters", "max_reuse_distance", "sub_group_size")
"""Sizes whose default is DeepSpeed's own with Trainer, too, which fills in the others from the hidden size."""
_OFFLOADS = ("offload_optimizer", "offload_param")
_BATCHES = {
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
}

TABLE = Table(
    decides={
        "zero_optimization.stage": "sharding, sharding_backend",
        "zero_optimization.overlap_comm": "overlap_comm",
        **{f"zero_optimization.{name}.device": "offload" for name in _OFFLOADS},
        **{f"zero_optimization.{name}": word for word, (names, _) in _SIZES.items() for name in names},
        **_BATCHES,
        "bf16.enabled": "precision",
        "fp16.enabled": "precision",
        "bf16.bf16_master_weights_and_grads": "precision",
        "bf16.bf16_optimizer_states": "precision",
        "optimizer.type": "optimizer",
    },
    no_word={
        "tensor_parallel.autotp_size": "tensor parallelism",
        "sequence_parallel_size": "sequence parallelism",
        "seq_parallel_communication_data_type": "sequence parallelism",
        "compile.deepcompile": "DeepCompile",
        "zero_optimization.zenflow": "ZenFlow",
        "autotuning.enabled": "DeepSpeed's autotuning",
        "zero_optimization.zero_hpz_partition_size": "ZeRO++: secondary copies of parameters",
        "zero_optimization.zero_quantized_weights": "ZeRO++: quantized parameters",
        "zero_optimization.zero_quantized_gradients": "ZeRO++: quantized gradients",
        "zero_optimization.mics_shard_size": "MiCS",
        "zero_optimization.zero_quantized_nontrainable_weights": "ZeRO++: quantized parameters",
        "torch_autocast.enabled": "DeepSpeed's torch_autocast",
        "amp.enabled": "apex",
        "zero_optimization.super_offload": "SuperOffload",
        "data_types.grad_accum_dtype": "gradients that accumulate in a dtype of their own",
    },
    idle=words(
        """
        gradient_clipping steps_per_print wall_clock_breakdown train_batch_size
        zero_allow_untested_optimizer zero_force_ds_cpu_optimizer prescale_gradients dump_state
        memory_breakdown bf16.auto_cast fp16.auto_cast communication_data_type
        zero_optimization.contiguous_gradients zero_optimization.reduce_scatter
        zero_optimization.allgather_partitions zero_optimization.round_robin_gradients
        zero_optimization.gather_16bit_weights_on_model_save
        zero_optimization.stage3_gather_16bit_weights_on_model_save
        zero_optimization.stage3_gather_fp16_weights_on_model_save zero_optimization.elastic_checkpoint
        zero_optimization.ignore_unused_parameters bf16.immediate_grad_update bf16.check_grad_overflow
        """
    ),
    idle_prefixes=(
        *("scheduler.", "optimizer.params", "fp16.", "flops_profiler.", "wandb.", "tensorboard.", "comms_logger."),
        *(f"zero_optimization.{name}." for name in _OFFLOADS),
        *("aio.", "checkpoint.", "csv_monitor.", "autotuning.", "torch_autocast.", "compile."),
    ),
    left_out={
        "zero_optimization.allgather_bucket_size": "the bucket in which stages 1 and 2 gather updated parameters",
    },
    dead={"activation_checkpointing": "Trainer checkpoints by itself: only DeepSpeed's own API reads this section"},
)


def read(keys: Keys, run: Run) -> None:
    """Says stage, offload, buckets and precision."""
    reading = keys.reading
    at = keys.place("zero_optimization.stage")
    stage = keys.whole("zero_optimization.stage") or 0
    if stage not in SHARDINGS:
        reading.say("sharding", Sharding.NO_SHARD, at)
        reading.refuse(f"DeepSpeed with ZeRO stage {stage}", at)
        return
    read_stage(reading, stage, at)
    devices = {name: keys.word(f"zero_optimization.{name}.device") for name in _OFFLOADS}
    read_offload(reading, devices, {name: keys.place(f"zero_optimization.{name}.device") for name in _OFFLOADS})
    for word, (names, default) in _SIZES.items():
        if stage == 3 or word not in _OF_STAGE_3:
            _read_size(keys, word, tuple(f"zero_optimization.{name}" for name in names), default)
    overlaps = keys.entry("zero_optimization.overlap_comm")
    if overlaps is not None and overlaps.value != "auto":
        choice = OverlapComm.YES if keys.flag("zero_optimization.overlap_comm") else OverlapComm.NO
        reading.say("overlap_comm", choice, overlaps.place)
    _read_precision(keys)
    for key, word in _BATCHES.items():
        entry = keys.entry(key)
        if entry is not None and entry.value != "auto":
            reading.say(f"deepspeed {word}", keys.whole(key), entry.place)
    optimizer = keys.word("optimizer.type")
    if optimizer is not None:
        if optimizer.lower() in ("adam", "adamw"):
            why = "DeepSpeed's FusedAdam: two states, in place"
            reading.say("deepspeed optimizer", Optimizer.ADAMW, keys.place("optimizer.type"), why)
        else:
            reading.refuse(f"DeepSpeed's optimizer {optimizer}", keys.place("optimizer.type"))


def read_stage(reading: Reading, stage: int, at: Any) -> None:
    """Says what a stage of ZeRO shards."""
    reading.say("sharding", SHARDINGS[stage], at)
    reading.say("sharding_backend", ShardingBackend.DEEPSPEED, at)


def read_offload(reading: Reading, devices: Mapping[str, str | None], places: Mapping[str, Any]) -> None:
    """Says what is on the host, given the device of `offload_optimizer` and of `offload_param`."""
    reading.say("offload", Offload.NONE)
    for name, offload in zip(_OFFLOADS, (Offload.OPTIMIZER, Offload.CPU), strict=True):
        device = (devices[name] or "none").lower()
        if device == "cpu":
            reading.say("offload", offload, places[name])
        elif device != "none":
            reading.refuse(f"{name} to {device}", places[name])


def _read_size(keys: Keys, word: str, names: tuple[str, ...], default: int) -> None:
    """Says a size in elements: 0 where it is what the planner's 0 stands for, so that no command has to repeat it."""
    entry, is_auto = keys.entry(*names), word in _DEFAULT_UNLESS_SAID
    if entry is None:
        source = "DeepSpeed 0.19, runtime/zero/config.py"
        keys.reading.say(word, AUTO if is_auto else default, why=f"{source}: {default:,}" if is_auto else source)
    elif entry.value == "auto":
        keys.reading.say(word, AUTO, entry.place, "auto: from the hidden size")
    elif (number := keys.whole(*names)) is not None:
        if is_auto and number == default:
            keys.reading.say(word, AUTO, entry.place, f"DeepSpeed's default: {default:,}")
        else:
            # The planner's 0 is what DeepSpeed fills in; a file's 0 keeps nothing, which one element comes next to.
            keys.reading.say(word, max(number, 1), entry.place)


def _read_precision(keys: Keys) -> None:
    reading = keys.reading
    for key in ("bf16.enabled", "fp16.enabled"):
        entry = keys.entry(key)
        if entry is not None and entry.value != "auto":
            reading.say(f"deepspeed {key[:4]}", keys.flag(key), entry.place)
    masters, states = "bf16.bf16_master_weights_and_grads", "bf16.bf16_optimizer_states"
    if keys.flag(masters):
        reading.say("deepspeed bf16 masters", keys.flag(states), keys.place(masters))
        if not keys.flag(states):
            reading.refuse("bf16 master weights with optimizer states in fp32", keys.place(masters))


READER = Reader("deepspeed", "DeepSpeed 0.19", Role.ENGINE, TABLE, frozenset({"zero_optimization"}), read)

"""Reads the train.yaml of `planner export --to pytorch`, a loop of torch's own.

Source of defaults: exporting/scripts/train_pytorch.py, `Training`, and sharding.py, `Sharded`.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table
from planner.readers.exported.loop import (
    LOOP,
    LOOP_IDLE,
    OF_SOME_LAYERS,
    OPTIMIZERS,
    liger_place,
    read_checkpointing,
    read_evaluation,
    read_optimizer,
)
from planner.readers.exported.run import STORED, read_dtypes, read_kernels, read_model, read_rows
from planner.readers.exported.spelling import PYTORCH
from planner.readers.exported.table import RUN, RUN_IDLE
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from strategies import (
    GradientBuckets,
    GradientSync,
    Offload,
    Outputs,
    Sharding,
    ShardingBackend,
    Update,
)

_TRAINING, _SHARDED = "train.py, Training", "sharding.py, Sharded"
_REPLICATED = (Sharding.NO_SHARD, Sharding.ZERO1)
_SHARDINGS = (*_REPLICATED, Sharding.FULL_SHARD, Sharding.SHARD_GRAD_OP, Sharding.HYBRID_SHARD)
_OUTPUTS = {"step": Outputs.KEPT_IN_STEP, "forward": Outputs.KEPT}

TABLE = Table(
    decides={
        **RUN,
        **LOOP,
        "micro_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "autocast": "precision",
        "update_in_backward": "update",
        "keep_outputs": "outputs",
        "sharding": "sharding",
        "shard_size": "shard_size",
        "reshard_size": "reshard_size",
        "offload_to_cpu": "offload",
        "sync_each_micro_batch": "gradient_sync",
        "gradient_as_bucket_view": "gradient_buckets",
    },
    strict=True,
    idle=RUN_IDLE | LOOP_IDLE | {"max_grad_norm"},
)


def read(keys: Keys, run: Run) -> None:
    """Says what train.py does."""
    reading = keys.reading
    read_model(keys, run)
    _read_sharding(keys)
    name, place = keys.word("autocast"), keys.place("autocast")
    half = None if name is None else STORED.get(name, "fp32")
    if half == "fp32":
        reading.refuse(f"autocast to {name}", place)
        half = None
    read_dtypes(keys, half, place)
    keys.say_whole("micro_batch_size", "micro_batch_size", otherwise=1, why=_TRAINING)
    keys.say_whole("gradient_accumulation_steps", "gradient_accumulation_steps", otherwise=1, why=_TRAINING)
    read_rows(keys)
    known = OPTIMIZERS if reading.value("sharding") is Sharding.ZERO1 else (*OPTIMIZERS, *OF_SOME_LAYERS)
    read_optimizer(keys, known)
    if keys.flag("update_in_backward"):
        reading.say("update", Update.IN_BACKWARD, keys.place("update_in_backward"))
    read_checkpointing(keys)
    read_kernels(keys, "liger", liger_place(keys), otherwise=False)
    read_evaluation(keys)
    kept = keys.word("keep_outputs")
    if kept in _OUTPUTS:
        reading.say("outputs", _OUTPUTS[kept], keys.place("keep_outputs"))
    elif kept is not None:
        reading.refuse(f"outputs that are kept until {kept}", keys.place("keep_outputs"))


def _read_sharding(keys: Keys) -> None:
    reading = keys.reading
    name, place = keys.word("sharding") or Sharding.NO_SHARD.value, keys.place("sharding")
    choice = next((each for each in _SHARDINGS if each.value == name), None)
    if choice is None:
        reading.say("sharding", Sharding.NO_SHARD, place)
        reading.refuse(f"sharding {name}", place)
        return
    reading.say("sharding", choice, place, "" if place else _SHARDED)
    if choice in _REPLICATED:
        views = keys.flag("gradient_as_bucket_view")
        buckets = GradientBuckets.VIEWS if views else GradientBuckets.COPIES
        reading.say("gradient_buckets", buckets, keys.place("gradient_as_bucket_view"), "" if views else _SHARDED)
        return
    reading.say("sharding_backend", ShardingBackend.FSDP2, place, "sharding.py: fully_shard")
    if choice is Sharding.HYBRID_SHARD and (size := keys.whole("shard_size")):
        reading.say("shard_size", size, keys.place("shard_size"))
    elif choice is Sharding.HYBRID_SHARD:
        reading.say("sharding", Sharding.FULL_SHARD, place, "without shard_size all ranks divide one copy")
    if choice is Sharding.FULL_SHARD and (size := keys.whole("reshard_size")):
        reading.say("reshard_size", size, keys.place("reshard_size"))
    offloads = keys.flag("offload_to_cpu")
    reading.say("offload", Offload.CPU if offloads else Offload.NONE, keys.place("offload_to_cpu"))
    if keys.flag("sync_each_micro_batch"):
        reading.say("gradient_sync", GradientSync.EACH, keys.place("sync_each_micro_batch"))


READER = Reader(
    "pytorch",
    "torch 2.13",
    Role.RECIPE,
    TABLE,
    frozenset({"autocast", "update_in_backward", "gradient_as_bucket_view", "sync_each_micro_batch"}),
    read,
    spelling=PYTORCH,
    expands_from=1,  # run.sh, which is exported with it
)

"""Defines the axis of sharding: what each rank of a data-parallel group stores, and which library divides it."""

from __future__ import annotations

from collections.abc import Mapping

from strategies.axis import Axis, Option, Values, WholeNumbers, given
from strategies.choice import Choice, ContradictionError
from strategies.sharding.choices import (
    ALL_RANKS,
    MOST_ELEMENTS,
    MOST_RANKS,
    REPLICATED,
    SHARDED,
    GradientBuckets,
    GradientSync,
    Offload,
    OverlapComm,
    Sharding,
    ShardingBackend,
    Wrapping,
)
from strategies.sharding.deepspeed import AUTO, LIVE_PARAMETERS, REUSE_DISTANCE, STAGES, SUB_GROUP_SIZE, Zero
from strategies.sharding.fsdp1 import Fsdp1
from strategies.sharding.fsdp2 import Fsdp2
from strategies.sharding.lacking import Lacking
from strategies.sharding.replicated import Replicated

DataParallel = Replicated | Fsdp1 | Fsdp2 | Zero | Lacking
"""Value of the sharding axis in a strategy."""

BACKENDS: Mapping[tuple[Sharding, ShardingBackend], type[Replicated | Fsdp1 | Fsdp2 | Zero]] = {
    (Sharding.NO_SHARD, ShardingBackend.FSDP2): Replicated,
    (Sharding.ZERO1, ShardingBackend.FSDP2): Replicated,
    **{(choice, ShardingBackend.FSDP1): Fsdp1 for choice in SHARDED},
    **{(choice, ShardingBackend.FSDP2): Fsdp2 for choice in SHARDED},
    **{(choice, ShardingBackend.DEEPSPEED): Zero for choice in STAGES},
}
"""Class of the value that a sharding and a backend make; a backend lacks what is not listed here."""


def indivisible(sharding: DataParallel, world_size: int) -> str | None:
    """Returns why `world_size` ranks cannot divide a model with this sharding, or None.

    The text does not name the size that was asked for, so that all impossible sizes of a range have the same reason.
    """
    return sharding.indivisible(world_size)


def _join(values: Values) -> DataParallel:
    choice, backend = values["sharding"], given(values, "sharding_backend", ShardingBackend.FSDP2)
    if not isinstance(choice, Sharding):
        raise ContradictionError(
            f"nothing says who keeps what under sharding {choice}", "it needs a class like `Fsdp2`"
        )
    kind = BACKENDS.get((choice, backend))
    return kind.of(values) if kind is not None else Lacking(choice, backend)


def _split(value: DataParallel) -> Values:
    return value.to_options()


def _elements(name: str, help: str, phrase: str, *owners: Choice) -> Option:
    """Returns an option of DeepSpeed that counts elements; 0 stands for what is filled in."""
    return Option(name, WholeNumbers(AUTO, MOST_ELEMENTS, 500_000_000), help, phrase, AUTO, owners)


AXIS = Axis(
    Option("sharding", Sharding),
    (
        Option(
            "sharding_backend",
            ShardingBackend,
            phrase="by {}",
            hidden_default=ShardingBackend.FSDP2,
            belongs_to=(Sharding.ZERO1, *SHARDED),
        ),
        Option(
            "gradient_buckets",
            GradientBuckets,
            phrase="bucket {}",
            hidden_default=GradientBuckets.COPIES,
            belongs_to=(*REPLICATED, ShardingBackend.FSDP2),
        ),
        Option(
            "reshard_size",
            WholeNumbers(ALL_RANKS, MOST_RANKS, 8),
            "Ranks that keep a shard of each block from forward to backward; all (0) unless given.",
            "resharded to {}",
            ALL_RANKS,
            (Sharding.FULL_SHARD, ShardingBackend.FSDP2),
        ),
        Option(
            "shard_size",
            WholeNumbers(2, MOST_RANKS, 8),
            "Ranks over which hybrid_shard divides the model, the GPUs of a node unless given.",
            "groups of {}",
            None,
            (Sharding.HYBRID_SHARD, ShardingBackend.FSDP2, ShardingBackend.FSDP1),
        ),
        Option(
            "offload",
            Offload,
            phrase="offload {}",
            hidden_default=Offload.NONE,
            belongs_to=(Sharding.ZERO1, *SHARDED),
        ),
        Option(
            "gradient_sync",
            GradientSync,
            phrase="sync {}",
            hidden_default=GradientSync.LAST,
            belongs_to=(*SHARDED, ShardingBackend.FSDP2, ShardingBackend.FSDP1),
        ),
        Option(
            "wrapping",
            Wrapping,
            phrase="wrapped as by {}",
            hidden_default=Wrapping.TODAY,
            belongs_to=(*SHARDED, ShardingBackend.FSDP1),
        ),
        _elements(
            "reduce_bucket",
            'Elements of DeepSpeed\'s reduce_bucket_size; 0 (the default) is "auto", hidden size squared.',
            "reduce bucket of {}",
            *STAGES,
            ShardingBackend.DEEPSPEED,
        ),
        Option(
            "overlap_comm",
            OverlapComm,
            phrase="overlap {}",
            hidden_default=OverlapComm.AUTO,
            belongs_to=(*STAGES, ShardingBackend.DEEPSPEED),
        ),
        _elements(
            "prefetch_bucket",
            'Elements of stage3_prefetch_bucket_size; 0 (the default) is "auto", 0.9 times hidden size squared.',
            "prefetch bucket of {}",
            Sharding.FULL_SHARD,
            ShardingBackend.DEEPSPEED,
        ),
        _elements(
            "persistence_threshold",
            'Elements of stage3_param_persistence_threshold; 0 (the default) is "auto", 10 times hidden size.',
            "persistent up to {}",
            Sharding.FULL_SHARD,
            ShardingBackend.DEEPSPEED,
        ),
        _elements(
            "max_live_parameters",
            f"Elements of stage3_max_live_parameters; 0 (the default) is {LIVE_PARAMETERS:,}.",
            "at most {} live",
            Sharding.FULL_SHARD,
            ShardingBackend.DEEPSPEED,
        ),
        _elements(
            "max_reuse_distance",
            f"Elements of stage3_max_reuse_distance; 0 (the default) is {REUSE_DISTANCE:,}.",
            "reused within {}",
            Sharding.FULL_SHARD,
            ShardingBackend.DEEPSPEED,
        ),
        _elements(
            "sub_group_size",
            f"Elements of a rank's share that the optimizer steps at a time; 0 (the default) is {SUB_GROUP_SIZE:,}.",
            "stepped by {}",
            Sharding.FULL_SHARD,
            ShardingBackend.DEEPSPEED,
        ),
    ),
    _join,
    _split,
)

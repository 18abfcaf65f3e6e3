"""Defines the axis of sharding: what each rank of a data-parallel group stores, and which library divides it."""

from __future__ import annotations

from collections.abc import Mapping

from strategies.axis import Axis, ContradictionError, Option, Values, WholeNumbers, given
from strategies.sharding.choices import (
    ALL_RANKS,
    MOST_RANKS,
    REPLICATED,
    SHARDED,
    GradientBuckets,
    GradientSync,
    Offload,
    Sharding,
    ShardingBackend,
)
from strategies.sharding.fsdp1 import Fsdp1
from strategies.sharding.fsdp2 import Fsdp2
from strategies.sharding.lacking import Lacking
from strategies.sharding.replicated import Replicated

DataParallel = Replicated | Fsdp1 | Fsdp2 | Lacking
"""Value of the sharding axis in a strategy."""

BACKENDS: Mapping[tuple[Sharding, ShardingBackend], type[Replicated | Fsdp1 | Fsdp2]] = {
    (Sharding.NO_SHARD, ShardingBackend.FSDP2): Replicated,
    (Sharding.ZERO1, ShardingBackend.FSDP2): Replicated,
    **{(choice, ShardingBackend.FSDP1): Fsdp1 for choice in SHARDED},
    **{(choice, ShardingBackend.FSDP2): Fsdp2 for choice in SHARDED},
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
            phrase="offload to {}",
            hidden_default=Offload.NONE,
            belongs_to=SHARDED,
        ),
        Option(
            "gradient_sync",
            GradientSync,
            phrase="reduced in {} micro-batch",
            hidden_default=GradientSync.LAST,
            belongs_to=(*SHARDED, ShardingBackend.FSDP2, ShardingBackend.FSDP1),
        ),
    ),
    _join,
    _split,
)

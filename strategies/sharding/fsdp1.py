"""Divides a model among ranks with FSDP1, torch's `FullyShardedDataParallel`."""

from typing import Any, NamedTuple

from strategies.sharding.choices import ALL_RANKS, GradientSync, Offload, Sharding, ShardingBackend, Wrapping
from strategies.sharding.fully_sharded import FullySharded


class _Choices(NamedTuple):
    choice: Sharding = Sharding.FULL_SHARD
    shard_size: int = ALL_RANKS
    """Number of ranks that one copy of the model is divided over; the ranks hold `world_size / shard_size` copies."""
    offload: Offload = Offload.NONE
    gradient_sync: GradientSync = GradientSync.LAST
    wrapping: Wrapping = Wrapping.TODAY


class Fsdp1(_Choices, FullySharded):
    """Shards parameters, gradients and optimizer states over ranks with FSDP1, as flat parameters."""

    __slots__ = ()

    def to_options(self) -> dict[str, Any]:
        """Returns the options that make the value."""
        return {**super().to_options(), "wrapping": self.wrapping}

    @property
    def backend(self) -> ShardingBackend:
        """Returns `fsdp1`."""
        return ShardingBackend.FSDP1

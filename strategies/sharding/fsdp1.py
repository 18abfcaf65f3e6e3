"""Divides a model among ranks with FSDP1, torch's `FullyShardedDataParallel`."""

from __future__ import annotations

from typing import Any, NamedTuple

from strategies.axis import Values, given
from strategies.sharding.choices import ALL_RANKS, GradientSync, Offload, Sharding, ShardingBackend
from strategies.sharding.fully_sharded import FullySharded


class _Choices(NamedTuple):
    choice: Sharding = Sharding.FULL_SHARD
    shard_size: int = ALL_RANKS
    """Number of ranks that one copy of the model is divided over; the ranks hold `world_size / shard_size` copies."""
    offload: Offload = Offload.NONE
    gradient_sync: GradientSync = GradientSync.LAST


class Fsdp1(_Choices, FullySharded):
    """Shards parameters, gradients and optimizer states over ranks with FSDP1, as flat parameters."""

    __slots__ = ()

    @classmethod
    def of(cls, values: Values) -> Fsdp1:
        """Returns the value that options make."""
        return cls(
            values["sharding"],
            given(values, "shard_size", ALL_RANKS),
            given(values, "offload", Offload.NONE),
            given(values, "gradient_sync", GradientSync.LAST),
        )

    def to_options(self) -> Values:
        """Returns the options that make the value."""
        said: dict[str, Any] = {
            "sharding": self.choice,
            "sharding_backend": self.backend,
            "offload": self.offload,
            "gradient_sync": self.gradient_sync,
        }
        if self.choice is Sharding.HYBRID_SHARD:
            said["shard_size"] = self.shard_size
        return said

    @property
    def backend(self) -> ShardingBackend:
        """Returns `fsdp1`."""
        return ShardingBackend.FSDP1

"""Divides a model among ranks with FSDP1, torch's `FullyShardedDataParallel`."""

from __future__ import annotations

from typing import Any, NamedTuple

from strategies.axis import Values, given
from strategies.sharding.choices import ALL_RANKS, GradientSync, Offload, Sharding, ShardingBackend, divides


class Fsdp1(NamedTuple):
    """Shards parameters, gradients and optimizer states over ranks with FSDP1, as flat parameters."""

    choice: Sharding = Sharding.FULL_SHARD
    shard_size: int = ALL_RANKS
    """Number of ranks that one copy of the model is divided over; the ranks hold `world_size / shard_size` copies."""
    offload: Offload = Offload.NONE
    gradient_sync: GradientSync = GradientSync.LAST

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

    @property
    def shards(self) -> bool:
        """Returns whether parameters and gradients are sharded, which they are."""
        return True

    @property
    def divides_states(self) -> bool:
        """Returns whether optimizer states are divided while parameters stay whole, which is not the case."""
        return False

    def ranks(self, world_size: int) -> int:
        """Returns the number of ranks that parameters, gradients and optimizer states are divided over."""
        return self.shard_size or world_size

    def replicas(self, world_size: int) -> int:
        """Returns the number of copies of the model that the ranks hold together."""
        return world_size // self.ranks(world_size)

    @property
    def reshards(self) -> bool:
        """Returns whether parameters are resharded after forward, and gathered a second time in backward."""
        return self.choice is not Sharding.SHARD_GRAD_OP

    @property
    def on_host(self) -> bool:
        """Returns whether persistent state is in host memory, where the optimizer also runs."""
        return self.offload is Offload.CPU

    def indivisible(self, world_size: int) -> str | None:
        """Returns why `world_size` ranks cannot divide a model this way, or None."""
        if world_size == 1:
            return "one GPU has nothing to shard over"
        if self.choice is Sharding.HYBRID_SHARD and not divides(self.shard_size, world_size):
            return f"{world_size} GPUs make replicas of a smaller number of shards that divides {world_size}"
        return None

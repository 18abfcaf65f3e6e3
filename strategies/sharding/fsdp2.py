"""Divides a model among ranks with FSDP2, torch's `fully_shard`."""

from typing import Any, NamedTuple

from strategies.sharding.choices import ALL_RANKS, GradientSync, Offload, Sharding, ShardingBackend, divides
from strategies.sharding.fully_sharded import FullySharded


class _Choices(NamedTuple):
    choice: Sharding = Sharding.FULL_SHARD
    reshard_size: int = ALL_RANKS
    """Number of ranks that parameters are sharded over between forward and backward."""
    shard_size: int = ALL_RANKS
    """Number of ranks that one copy of the model is divided over; the ranks hold `world_size / shard_size` copies."""
    offload: Offload = Offload.NONE
    gradient_sync: GradientSync = GradientSync.LAST


class Fsdp2(_Choices, FullySharded):
    """Shards parameters, gradients and optimizer states over ranks with FSDP2."""

    __slots__ = ()

    def to_options(self) -> dict[str, Any]:
        """Returns the options that make the value."""
        said = super().to_options()
        return {**said, "reshard_size": self.reshard_size} if self.choice is Sharding.FULL_SHARD else said

    @property
    def backend(self) -> ShardingBackend:
        """Returns `fsdp2`."""
        return ShardingBackend.FSDP2

    def indivisible(self, world_size: int) -> str | None:
        """Returns why `world_size` ranks cannot divide a model this way, or None."""
        if reason := super().indivisible(world_size):
            return reason
        if self.reshard_size and not divides(self.reshard_size, world_size):
            return f"parameters of {world_size} shards are resharded to a smaller number that divides {world_size}"
        return None

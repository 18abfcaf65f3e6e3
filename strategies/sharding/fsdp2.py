"""Divides a model among ranks with FSDP2, torch's `fully_shard`."""

from __future__ import annotations

from typing import Any, NamedTuple

from strategies.axis import Values, given
from strategies.sharding.choices import ALL_RANKS, GradientSync, Offload, Sharding, ShardingBackend, divides


class Fsdp2(NamedTuple):
    """Shards parameters, gradients and optimizer states over ranks with FSDP2."""

    choice: Sharding = Sharding.FULL_SHARD
    reshard_size: int = ALL_RANKS
    """Number of ranks that parameters are sharded over between forward and backward."""
    shard_size: int = ALL_RANKS
    """Number of ranks that one copy of the model is divided over; the ranks hold `world_size / shard_size` copies."""
    offload: Offload = Offload.NONE
    gradient_sync: GradientSync = GradientSync.LAST

    @classmethod
    def of(cls, values: Values) -> Fsdp2:
        """Returns the value that options make."""
        return cls(
            values["sharding"],
            given(values, "reshard_size", ALL_RANKS),
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
        if self.choice is Sharding.FULL_SHARD:
            said["reshard_size"] = self.reshard_size
        if self.choice is Sharding.HYBRID_SHARD:
            said["shard_size"] = self.shard_size
        return said

    @property
    def backend(self) -> ShardingBackend:
        """Returns `fsdp2`."""
        return ShardingBackend.FSDP2

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
        # torch/distributed/fsdp/_fully_shard/_fsdp_init.py, `_get_post_forward_mesh_info`
        if self.choice is Sharding.HYBRID_SHARD and not divides(self.shard_size, world_size):
            return f"{world_size} GPUs make replicas of a smaller number of shards that divides {world_size}"
        if self.reshard_size and not divides(self.reshard_size, world_size):
            return f"parameters of {world_size} shards are resharded to a smaller number that divides {world_size}"
        return None

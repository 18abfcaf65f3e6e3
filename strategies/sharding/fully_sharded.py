"""Says what FSDP1 and FSDP2 have in common: parameters, gradients and states are divided over the same ranks."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from strategies.axis import Values, given
from strategies.sharding.choices import GradientSync, Offload, Sharding, ShardingBackend, divides


class FullySharded:
    """Serves as the mixin of `Fsdp1` and `Fsdp2`, named tuples whose fields have the names of the options."""

    __slots__ = ()
    _field_defaults: dict[str, Any]

    @classmethod
    def of(cls, values: Values) -> Self:
        """Returns the value that options make."""
        refined = {name: given(values, name, usual) for name, usual in cls._field_defaults.items() if name != "choice"}
        return cls(values["sharding"], **refined)  # type: ignore[call-arg]  # the tuple's fields

    def to_options(self) -> dict[str, Any]:
        """Returns the options that make the value."""
        said = {
            "sharding": self.choice,
            "sharding_backend": self.backend,
            "offload": self.offload,
            "gradient_sync": self.gradient_sync,
        }
        return {**said, "shard_size": self.shard_size} if self.choice is Sharding.HYBRID_SHARD else said

    @property
    @abstractmethod
    def backend(self) -> ShardingBackend:
        """The library that divides the model."""

    @property
    @abstractmethod
    def choice(self) -> Sharding:
        """The choice of the axis."""

    @property
    @abstractmethod
    def shard_size(self) -> int:
        """Number of ranks that one copy of the model is divided over; 0: all of them."""

    @property
    @abstractmethod
    def offload(self) -> Offload:
        """What waits in the host's memory."""

    @property
    @abstractmethod
    def gradient_sync(self) -> GradientSync:
        """In which micro-batches gradients are reduced."""

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
        return None

"""Keeps the whole model on every rank, as DDP does."""

from __future__ import annotations

from typing import NamedTuple

from strategies.axis import Values, given
from strategies.sharding.choices import GradientBuckets, Offload, Sharding, ShardingBackend


class Replicated(NamedTuple):
    """Keeps the whole model on every rank; with `zero1`, each optimizer state is on one rank only."""

    choice: Sharding = Sharding.NO_SHARD
    gradient_buckets: GradientBuckets = GradientBuckets.COPIES
    offload: Offload = Offload.NONE
    """What was asked for with `zero1`; torch offloads nothing (`strategies.rules.fsdp2`)."""

    @classmethod
    def of(cls, values: Values) -> Replicated:
        """Returns the value that options make."""
        buckets, offload = (
            given(values, "gradient_buckets", GradientBuckets.COPIES),
            given(values, "offload", Offload.NONE),
        )
        return cls(values["sharding"], buckets, offload)

    def to_options(self) -> Values:
        """Returns the options that make the value."""
        said = {"sharding": self.choice, "gradient_buckets": self.gradient_buckets}
        if not self.divides_states:
            return said
        return {**said, "sharding_backend": ShardingBackend.FSDP2, "offload": self.offload}

    @property
    def backend(self) -> None:
        """Returns None: no backend divides parameters."""
        return

    @property
    def shards(self) -> bool:
        """Returns False: every rank keeps all parameters and gradients."""
        return False

    @property
    def on_host(self) -> bool:
        """Returns False: the model and the optimizer step stay on the GPU."""
        return False

    @property
    def divides_states(self) -> bool:
        """Returns whether optimizer states are divided while parameters stay whole, as with `zero1`."""
        return self.choice is Sharding.ZERO1

    def ranks(self, world_size: int) -> int:
        """Returns the number of ranks that parameters and gradients are divided over, which is 1."""
        return 1

    def indivisible(self, world_size: int) -> str | None:
        """Returns why `world_size` ranks cannot run it, or None."""
        if self.divides_states and world_size == 1:
            return "one GPU has nobody to divide its optimizer's states with"
        return None

"""Stands for a sharding that a backend does not have."""

from __future__ import annotations

from typing import NamedTuple

from strategies.axis import Values
from strategies.sharding.choices import Sharding, ShardingBackend


class Lacking(NamedTuple):
    """Combines a sharding with a backend that lacks it; no number of ranks can run it."""

    choice: Sharding
    backend: ShardingBackend

    def to_options(self) -> Values:
        """Returns the options that make the value."""
        return {"sharding": self.choice, "sharding_backend": self.backend}

    @property
    def shards(self) -> bool:
        """Returns False, since nothing runs."""
        return False

    @property
    def on_host(self) -> bool:
        """Returns False, since nothing runs."""
        return False

    @property
    def divides_states(self) -> bool:
        """Returns False, since nothing runs."""
        return False

    def ranks(self, world_size: int) -> int:
        """Returns 1, since nothing is divided."""
        return 1

    def indivisible(self, world_size: int) -> str:
        """Returns why it cannot run."""
        return f"{self.backend} has no {self.choice}"

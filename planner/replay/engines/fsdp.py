"""Runs what steps with FSDP1 and FSDP2 have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from planner.replay.engines.engine import Engine, pretended
from strategies import Fsdp1, Fsdp2, GradientSync, Strategy


class FsdpEngine(Engine):
    """Joins a process group, and replays one more micro-batch of a step that reduces in the last alone."""

    sharding: Fsdp1 | Fsdp2

    def __init__(self, strategy: Strategy, world_size: int) -> None:
        super().__init__(strategy, world_size)
        self.extra_micro_batches = int(self.sharding.gradient_sync is GradientSync.LAST)

    @property
    def autocast(self) -> torch.dtype | None:
        """Returns None.

        FSDP2 computes in the dtype of the gathered parameters (accelerate, `_prepare_fsdp2`); with FSDP1 the forward of
        the model within the root is wrapped when it is placed.
        """
        return None

    @contextmanager
    def pretended(self) -> Iterator[None]:
        """Joins a process group whose collectives do nothing, while the context lasts."""
        with pretended(self.world_size):
            self.connect()
            yield

    def waits(self, *, last: bool) -> bool:
        """Returns whether a micro-batch leaves the reduction of gradients to a later one."""
        return self.sharding.gradient_sync is GradientSync.LAST and not last

"""Says which ranks of ZeRO are followed through a micro-batch, and what evaluation finds around each part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.libraries.deepspeed import largest_ranks
from planner.memory.sharding.account import Unit
from planner.memory.sharding.deepspeed.flat import Flat
from planner.memory.sharding.deepspeed.gathered import Gathered
from planner.memory.sharding.deepspeed.reduced import Reduced
from planner.memory.sharding.deepspeed.run import Run
from planner.memory.sharding.layout import Extra, Layout, Turn
from strategies import Zero


class ZeroLayout(Layout):
    """Follows the ranks that can need the most memory.

    Args:
        units: The parameters of each part.
        sharding: How the model is divided, with all sizes filled in.
        world_size: The number of ranks.
        turn: Which micro-batch of the step runs.
    """

    gathers = False

    def __init__(self, units: Sequence[Unit], sharding: Zero, world_size: int, turn: Turn) -> None:
        self.sharding, self.turn, self.flat = sharding, turn, Flat(units, world_size)
        self.ranks = [0] if sharding.stage == 3 else largest_ranks(self.flat.numels, world_size)

    @property
    def is_followed(self) -> bool:  # type: ignore[override]  # stage 3 alone
        """Whether parameters are gathered for modules."""
        return self.sharding.stage == 3

    def runs(self) -> Iterator[Run]:
        """Yields the bookkeeping of each rank, at the start of a micro-batch."""
        s = self.sharding
        if s.stage == 3:
            yield Gathered(self.flat, s)
            return
        for rank in self.ranks:
            yield Reduced(self.flat, rank, s.reduce_bucket, s.buckets, s.stage == 2, self.turn, s.steps_on_host)

    def forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i` in an evaluation."""
        return Extra()

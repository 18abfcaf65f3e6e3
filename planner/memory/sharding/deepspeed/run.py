"""Defines how a stage's bookkeeping follows a micro-batch: what is alive besides the tensors of the traced parts."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from planner.memory.autograd.marks import Happened, Happening
from planner.memory.sharding.layout import Extra


@dataclass
class Alive:
    """Counts bytes that are alive besides the traced parts, by category."""

    unsharded: int = 0
    communication: int = 0
    gradients: int = 0

    def extra(self, temporary: int = 0) -> Extra:
        """Returns these bytes, with those of a temporary buffer."""
        return Extra(self.unsharded, self.communication + temporary, self.gradients)


class Run:
    """Follows one micro-batch on one rank.

    Subclasses yield what is alive at each instant of a happening, and leave in `alive` what is alive after it.

    Args:
        key: What decides it, besides the order of what happens.

    Attributes:
        ignored: What nothing follows from.
    """

    ignored: tuple[Happening, ...] = (Happening.BEGINS, Happening.READS)

    def __init__(self, key: Hashable) -> None:
        self.key, self.alive = key, Alive()

    def complete(self, forward: list[Sequence[Happened]], backward: list[Sequence[Happened]]) -> None:
        """Adds to what happens in each part's forward and backward what the run needs in addition."""

    def begins(self) -> None:
        """Follows the start of a forward pass after another."""

    def plans(self, order: Sequence[tuple[int, str]]) -> None:
        """Learns the (part, name) of every module in the order in which it is entered."""

    def happens(self, part: int, kind: Happening, name: str) -> Iterator[Extra]:
        """Follows one happening of a part, and yields the instants within it."""
        yield from ()

    def ends(self) -> Iterator[Extra]:
        """Follows the end of backward, and yields the instants within it; the traced parts are gone then."""
        yield from ()

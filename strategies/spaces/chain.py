"""Groups strategies that differ in one number only, where a larger number never takes less memory or time."""

from __future__ import annotations

from typing import Any, NamedTuple

from strategies.strategy import Strategy


class Chain(NamedTuple):
    """Holds strategies that differ only in the value of one axis, in order of rising cost.

    Attributes:
        least: The strategy that takes the least memory and time.
        axis: Name of the axis that varies; empty if `least` is the only strategy.
        values: Values of that axis, smallest first; the first is that of `least`.
    """

    least: Strategy
    axis: str = ""
    values: tuple[Any, ...] = ()

    @property
    def length(self) -> int:
        """Returns the number of strategies."""
        return len(self.values) or 1

    def at(self, place: int) -> Strategy:
        """Returns the strategy at an index from 0 to `length - 1`; index 0 is `least`."""
        return self.least._replace(**{self.axis: self.values[place]}) if place else self.least

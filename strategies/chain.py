"""Strategies that differ in one number alone, of which a larger one never takes less memory or less time."""

from __future__ import annotations

from typing import Any, NamedTuple

from strategies.strategy import Strategy


class Chain(NamedTuple):
    """`least`, and what becomes of it with every value of `axis`, its own first. Without an axis, `least` alone."""

    least: Strategy
    axis: str = ""
    values: tuple[Any, ...] = ()

    @property
    def length(self) -> int:
        return len(self.values) or 1

    def at(self, place: int) -> Strategy:
        return self.least._replace(**{self.axis: self.values[place]}) if place else self.least

"""Lists which choices a part of the planner computes.

A choice that it does not compute is refused by name, and never planned as another one.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from strategies.checkpointing import Checkpointing
from strategies.choice import Choice
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.strategy import AXES, Strategy

BY_FACTS: tuple[type[Choice], ...] = (Precision, Optimizer, Checkpointing)
"""Axes whose facts determine everything that is computed: a choice with facts of a known type needs no own entry."""

_MOST_REMEMBERED = 10_000
"""Number of cached axis values at which the cache is cleared."""


class Accounts:
    """Holds the choices that one part of the planner computes.

    Args:
        owner: Name of that part in error texts.
        known: Containers with the supported members of each axis. The containers are consulted, not copied, so members
            that a plug-in adds to a table later count.
    """

    def __init__(self, owner: str, known: Mapping[type[Choice], Sequence[Container[Any]]]) -> None:
        self.owner, self.known = owner, known
        self._computed: set[tuple[str, Any]] = set()

    def lacking(self, strategy: Strategy) -> str | None:
        """Returns a text that names the first unsupported choice of a strategy, or None if all are supported."""
        for axis, value in zip(AXES.values(), strategy, strict=True):
            if (axis.name, value) in self._computed:  # members of two axes may be equal, as strings
                continue
            for option, choice in axis.to_options(value).items():
                if isinstance(choice, Choice) and not self.has(choice):
                    return f"{self.owner} has no account of {option} {choice}"
            if len(self._computed) >= _MOST_REMEMBERED:
                self._computed.clear()
            self._computed.add((axis.name, value))
        return None

    def has(self, choice: Choice) -> bool:
        """Returns whether a choice is supported."""
        kind = type(choice)
        return kind in BY_FACTS or any(choice in computed for computed in self.known[kind])

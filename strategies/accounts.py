"""Who computes which choices: one that nobody computes is refused by its name, and never planned as another one."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from strategies.axis import Choice
from strategies.checkpointing import Checkpointing
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.strategy import AXES, Strategy

BY_FACTS: tuple[type[Choice], ...] = (Precision, Optimizer, Checkpointing)
"""Axes whose facts say all that is computed: what has facts of a known kind needs no account of its own."""

_MOST_REMEMBERED = 10_000


class Accounts:
    """The choices that one part of the planner computes.

    Args:
        owner: who computes them, as errors say it.
        known: where the members of an axis are that are computed. Tables of accounts are asked each time, so that what
            a plug-in adds to them counts.
    """

    def __init__(self, owner: str, known: Mapping[type[Choice], Sequence[Container[Any]]]) -> None:
        self.owner, self.known = owner, known
        self._computed: set[tuple[str, Any]] = set()

    def lacking(self, strategy: Strategy) -> str | None:
        """Says which choice of a strategy has no account, or None."""
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
        """Whether a choice is computed."""
        kind = type(choice)
        return kind in BY_FACTS or any(choice in computed for computed in self.known[kind])

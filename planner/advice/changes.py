"""Defines a change of a request, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from planner.records.advice import Cost

SLOWER = 1.05
"""Times the time per token from which a step is called slower: less is within what the time model can tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Holds options of a request with other values, in words and with what they cost.

    Attributes:
        options: New value of each option by its name: options of techniques, and `Workload`'s fields.
        words: What changes.
        cost: What the change costs; a flag that makes the step slower is told apart later.
        needs: What has to be installed for it.
        but: What is lost by it, in words.
        alone: Whether it goes so far that it is advised alone, and never with other changes.
    """

    options: Mapping[str, Any]
    words: str
    cost: Cost = Cost.FLAG
    needs: str = ""
    but: str = ""
    alone: bool = False


Changes = tuple[Change, ...]
"""Changes of different options, made together."""


def options_of(changes: Iterable[Change]) -> dict[str, Any]:
    """Returns the new value of every option that changes."""
    return {name: value for change in changes for name, value in change.options.items()}


def items_of(changes: Iterable[Change]) -> frozenset[tuple[str, Any]]:
    """Returns the options that change with their values, by which sets of changes are compared."""
    return frozenset(options_of(changes).items())


def cost_of(changes: Iterable[Change]) -> Cost:
    """Returns the largest of what changes cost."""
    return max((change.cost for change in changes), key=lambda cost: cost.place, default=Cost.FLAG)


def told_cost(changes: Changes, relative_time: float) -> Cost:
    """Returns the largest of what changes cost; flags that make the step slower cost that."""
    cost = cost_of(changes)
    return Cost.SLOWER if cost is Cost.FLAG and relative_time >= SLOWER else cost

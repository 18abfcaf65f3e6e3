"""Says what changes cost, once it is known how fast they are."""

from __future__ import annotations

from planner.advice.changes import Changes, cost_of
from planner.records.advice import Cost

SLOWER = 1.05
"""Times the time per token from which a step is called slower: less is within what the time model can tell apart."""


def told_cost(changes: Changes, relative_time: float) -> Cost:
    """Returns the largest of what changes cost; flags that make the step slower cost that."""
    cost = cost_of(changes)
    return Cost.SLOWER if cost is Cost.FLAG and relative_time >= SLOWER else cost

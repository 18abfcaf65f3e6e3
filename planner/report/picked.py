"""Picks the plans that one screen has room for: the best of each method, and others that say something else."""

from __future__ import annotations

from collections.abc import Sequence

from planner.records.plan import Plan
from planner.records.result import FitResult
from planner.search.alike import Numbers, alike

LEAST = 2
"""Fewest plans that are shown, however little room there is."""


def picked(result: FitResult, room: int) -> Sequence[Plan]:
    """Returns the best plan of each method, and the best ones that are not nearly the same as another, best first.

    Args:
        result: The answer.
        room: Number of plans.
    """
    room = max(LEAST, room)
    apart: list[Plan] = []
    for plan in result.plans:
        if not any(alike(_numbers(plan), _numbers(better)) for better in apart):
            apart.append(plan)
    chosen = list(result.best_by_method[:room])
    chosen += [plan for plan in apart if plan not in chosen][: room - len(chosen)]
    return [plan for plan in result.listed if plan in chosen]


def _numbers(plan: Plan) -> Numbers:
    return Numbers(plan.strategy.strategy(), plan.global_batch_size, plan.time.step_seconds)

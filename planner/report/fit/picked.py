"""Picks the plans that one screen has room for: the best of each method, and others that say something else."""

from __future__ import annotations

from collections.abc import Sequence

from planner.records.plan import Plan
from planner.records.result import FitResult
from planner.search.alike import Numbers, alike

LEAST = 2
"""Fewest plans that are shown, however little room there is."""


def picked(result: FitResult, room: int, least: int = LEAST) -> Sequence[Plan]:
    """Returns the best plan of each method, and the best ones that are not nearly the same as another, best first.

    Args:
        result: The answer.
        room: Number of plans.
        least: Fewest plans, however little room there is.
    """
    room = max(least, room)
    apart: list[Plan] = []
    for plan in result.plans:
        if any(_steps_alike(plan, usual) for usual in result.usual):
            continue
        if not any(alike(_numbers(plan), _numbers(better)) for better in apart):
            apart.append(plan)
    chosen = list(result.best_by_method[:room])
    chosen += [plan for plan in apart if plan not in chosen][: room - len(chosen)]
    return [plan for plan in result.listed if plan in chosen]


def of_front(result: FitResult, room: int) -> Sequence[Plan]:
    """Returns plans of the front, those of the largest batch first: its ends, and others that are spread over it.

    Args:
        result: The answer, with a front.
        room: Number of plans.
    """
    front, room = result.front, max(LEAST, room)
    if len(front) <= room:
        return front
    fastest = max(front, key=lambda plan: plan.time.tokens_per_second)
    smallest = min(front, key=lambda plan: plan.memory.process_bytes)
    ends = {front.index(plan) for plan in (fastest, smallest)}
    spread = [round(i * (len(front) - 1) / (room - 1)) for i in range(room)]
    while len(ends | set(spread)) > room:
        spread.pop(len(spread) // 2)
    return [front[place] for place in sorted(ends | set(spread))]


def _steps_alike(plan: Plan, usual: Plan) -> bool:
    """Returns whether a plan differs from one of a usual batch in hardly more than its accumulation steps."""
    return plan.micro_batch_size == usual.micro_batch_size and _numbers(plan).kind == _numbers(usual).kind


def _numbers(plan: Plan) -> Numbers:
    return Numbers(plan.strategy.strategy(), plan.global_batch_size, plan.time.step_seconds)

"""Defines a row of a page, one plan of an answer, and finds the front of plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from planner.records.asked.request import Request
from planner.records.plan import Plan

MOST_SUBJECTS = 6
"""Most plans with pictures of their own: there are as many colors that one can tell apart."""
OTHERS = MOST_SUBJECTS
"""Number of the color of all other plans."""


class Row(NamedTuple):
    """Holds one plan of an answer."""

    request: Request
    plan: Plan
    place: str
    """The machine in a few words."""
    rank: int | None
    """Its number in the answer, as `--plan` takes it; None where there is no other plan."""
    group: int
    """Number of the color that it has everywhere on the page: that of a plan with pictures, or `OTHERS`."""
    on_front: bool
    """Whether no other plan of its answer has a larger batch, more tokens/s or more free memory without less of
    another."""


def front_of(plans: Sequence[Plan]) -> list[bool]:
    """Returns for each plan whether it fits, and no other has more of batch, speed or free memory without less."""
    measured = [_measures(plan) for plan in plans]
    return [
        plan.memory.fits and not any(_beats(other, own) for other in measured)
        for plan, own in zip(plans, measured, strict=True)
    ]


def _measures(plan: Plan) -> tuple[float, float, float]:
    free = plan.memory.budget_bytes - plan.memory.process_bytes
    return plan.global_batch_size, plan.time.tokens_per_second, free


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))

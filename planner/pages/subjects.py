"""Chooses what a page is about: all plans of its answers, and the few of them that get pictures of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hardware import PlannerError
from planner.answers.commands import spelled
from planner.answers.curves import Curves, curves
from planner.pages.machines import groups_of, machine_rows
from planner.pages.names import names_of
from planner.pages.rows import MOST_SUBJECTS, OTHERS, Row, front_of
from planner.problem.again import resolve_plan
from planner.problem.problem import CatalogSource
from planner.records.machines import MachineRanking
from planner.records.plan import Plan
from planner.records.plan_file import read_answer
from planner.records.result import EstimateResult, FitResult
from strategies import Objective

Answer = str | Path | FitResult | EstimateResult | MachineRanking
"""An answer of `fit`, `fit_machines` or `estimate`, or the path of its JSON; `-` is standard input."""

_BEST = {
    Objective.BATCH: "largest batch",
    Objective.THROUGHPUT: "fastest",
    Objective.COST: "lowest price",
    Objective.MEMORY: "least memory",
}
"""What the first plan of an objective is."""


class Subject(NamedTuple):
    """Holds a plan with pictures of its own."""

    row: Row
    label: str
    """What tells it from the page's other subjects."""
    curves: Curves | None
    """None where the plan cannot be resolved here."""
    spelled: str | None
    """The plan as the arguments of a command; None where it cannot be resolved here."""
    missing: str
    """Why there are no curves and commands."""


class Sheet(NamedTuple):
    """Holds all that a page shows."""

    answers: tuple[FitResult | EstimateResult | MachineRanking, ...]
    rows: tuple[Row, ...]
    subjects: tuple[Subject, ...]
    groups: tuple[str, ...]
    """What each color means, but that of the others."""


def sheet_of(answers: Sequence[Answer], catalog: CatalogSource) -> Sheet:
    """Reads answers, and returns what a page shows of them.

    One answer of `fit` is about the plan to run, the best one by the objective, and one of every other method; one of
    `fit_machines`, about the best machines; several answers are about the plan to run of each.

    Raises:
        PlanFileError: A file holds no plan.
        PlannerError: There is nothing to draw: an answer has no plans, or there are too many answers.
    """
    if not 0 < len(answers) <= MOST_SUBJECTS:
        raise PlannerError(f"a page is of 1 to {MOST_SUBJECTS} answers, not of {len(answers)}", "write several pages")
    read = [read_answer(str(answer)) if isinstance(answer, str | Path) else answer for answer in answers]
    groups, rows = _of_several(read) if len(read) > 1 else _of_one(read[0])
    pictured = sorted((row for row in rows if row.group != OTHERS), key=lambda row: row.group)
    subjects = tuple(_subject(row, groups[row.group], catalog) for row in pictured)
    if not subjects:
        raise PlannerError("there is no plan to draw: nothing fits", "planner fit says what would")
    return Sheet(tuple(read), rows, subjects, tuple(groups))


def _of_one(answer: FitResult | EstimateResult | MachineRanking) -> tuple[list[str], tuple[Row, ...]]:
    """Returns what colors mean, and the rows, of one answer."""
    if isinstance(answer, MachineRanking):
        return list(groups_of(answer)), tuple(machine_rows(answer))
    chosen = _chosen(answer)
    return list(chosen), tuple(_rows([answer], [list(chosen.values())]))


def _of_several(
    answers: Sequence[FitResult | EstimateResult | MachineRanking],
) -> tuple[list[str], tuple[Row, ...]]:
    """Returns what colors mean, and the rows, of several answers."""
    single = [answer for answer in answers if not isinstance(answer, MachineRanking)]
    if len(single) < len(answers):
        raise PlannerError("a ranking of machines is a page of its own", "write two pages")
    plans = map(_to_run, single)
    return names_of(single), tuple(_rows(single, [[plan] if plan is not None else [] for plan in plans]))


def _plans(answer: FitResult | EstimateResult) -> Sequence[Plan]:
    """Returns the plans of an answer in the order of their numbers; where nothing fits, the smallest."""
    if isinstance(answer, EstimateResult):
        return [answer]
    if not answer.plans and answer.shortfall is not None:
        return [answer.shortfall.smallest]
    return answer.listed


def _to_run(answer: FitResult | EstimateResult) -> Plan | None:
    """Returns the plan of an answer that is to be run, or the smallest; None if there is none at all."""
    if isinstance(answer, FitResult) and answer.plans:
        return answer.recommended
    return next(iter(_plans(answer)), None)


def _chosen(answer: FitResult | EstimateResult) -> dict[str, Plan]:
    """Returns the plans of one answer that get pictures, by what tells them apart."""
    first = _to_run(answer)
    if first is None:
        return {}
    method = str(first.strategy.finetuning)
    if isinstance(answer, EstimateResult) or not answer.plans:
        return {method: first}
    best = f"{_BEST[answer.request.objective or Objective.BATCH]}: {answer.plans[0].strategy.finetuning}"
    chosen = {f"to run: {method}": first}
    if answer.plans[0] != first:
        chosen[best] = answer.plans[0]
    for plan in (*answer.usual, *answer.best_by_method):
        if plan.strategy.finetuning not in {other.strategy.finetuning for other in chosen.values()}:
            chosen[str(plan.strategy.finetuning)] = plan
    return chosen


def _rows(answers: Sequence[FitResult | EstimateResult], own: Sequence[Sequence[Plan]]) -> Iterator[Row]:
    """Yields the plans of all answers, each with its color.

    Args:
        answers: The answers.
        own: For each answer the plans with pictures; their colors are numbered over all answers.
    """
    before = 0
    for answer, pictured in zip(answers, own, strict=True):
        plans = _plans(answer)
        for number, (plan, on_front) in enumerate(zip(plans, front_of(plans), strict=True), start=1):
            group = before + pictured.index(plan) if plan in pictured else OTHERS
            yield Row(answer.request, plan, answer.request.where, number if len(plans) > 1 else None, group, on_front)
        before += 1 if len(answers) > 1 else 0


def _subject(row: Row, label: str, catalog: CatalogSource) -> Subject:
    """Returns a plan with its pictures and commands; without them where its model is not here, or is untrusted code."""
    try:
        resolved = resolve_plan(row.request, row.plan, catalog)
        return Subject(row, label, curves(row.plan, *resolved), spelled(resolved[0]), "")
    except PlannerError as error:
        return Subject(row, label, None, None, error.message)

"""Chooses what a page is about: all plans of its answers, and the few of them that get pictures of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from hardware import PlannerError
from planner.answers.commands import spelled
from planner.answers.curves import Curves, curves
from planner.problem.problem import CatalogSource, resolve_one
from planner.records.plan import Plan
from planner.records.plan_file import arguments_of_plan, read_answer
from planner.records.request import Request
from planner.records.result import EstimateResult, FitResult
from planner.report.parts import words

Answer = str | Path | FitResult | EstimateResult
"""An answer of `fit` or `estimate`, or the path of its JSON; `-` is standard input."""

_OWN_ARGUMENTS = ("model", "gpu", "micro_batch_size", "gradient_accumulation_steps")
_WORKLOAD = (
    "task",
    "gpus",
    "nodes",
    "sequence_length",
    "headroom",
    "host_memory",
    "loading",
    "evaluation_batch_size",
    "batching",
    "mean_length",
    "outputs",
)

MOST_SUBJECTS = 6
"""Most plans with pictures of their own: there are as many colors that one can tell apart."""


class Row(NamedTuple):
    """Holds one plan of an answer."""

    request: Request
    plan: Plan
    rank: int | None
    """Its place in the answer's ranking; None for a plan that is not in it."""
    group: int
    """Number of the color that it has everywhere on the page."""
    on_front: bool
    """Whether no other plan of its answer has a larger batch, more tokens/s or more free memory without less of
    another."""


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

    answers: tuple[FitResult | EstimateResult, ...]
    rows: tuple[Row, ...]
    subjects: tuple[Subject, ...]
    groups: tuple[str, ...]
    """What each color means."""


def sheet_of(answers: Sequence[Answer], catalog: CatalogSource) -> Sheet:
    """Reads answers, and returns what a page shows of them.

    One answer of `fit` is about its best plan of each method; several answers are about the first plan of each.

    Raises:
        PlanFileError: A file holds no plan.
        PlannerError: There is nothing to draw: an answer has no plans, or there are too many answers.
    """
    if not 0 < len(answers) <= MOST_SUBJECTS:
        raise PlannerError(f"a page is of 1 to {MOST_SUBJECTS} answers, not of {len(answers)}", "write several pages")
    read = [a if isinstance(a, FitResult | EstimateResult) else read_answer(str(a)) for a in answers]
    if not any(_plans(answer) for answer in read):
        raise PlannerError("there is no plan to draw: nothing fits", "planner fit says what would")
    groups = _groups(read)
    rows = tuple(_rows(read, groups))
    chosen = _chosen(read, rows)
    return Sheet(tuple(read), rows, tuple(_subject(row, groups[row.group], catalog) for row in chosen), tuple(groups))


def _plans(answer: FitResult | EstimateResult) -> Sequence[tuple[int | None, Plan]]:
    """Returns the plans of an answer with their ranks; where nothing fits, the smallest."""
    if isinstance(answer, EstimateResult):
        return [(None, answer)]
    if not answer.plans:
        return [(None, answer.shortfall.smallest)] if answer.shortfall is not None else []
    others = [plan for plan in answer.best_by_method if plan not in answer.plans]
    return [*zip(count(1), answer.plans, strict=False), *((None, plan) for plan in others)]


def _groups(answers: Sequence[FitResult | EstimateResult]) -> list[str]:
    """Returns what colors mean: the methods of one answer, or several answers by what tells them apart."""
    if len(answers) == 1:
        return list(dict.fromkeys(str(plan.strategy.finetuning) for _, plan in _plans(answers[0])))
    requests = [answer.request for answer in answers]
    firsts = [next((plan for _, plan in _plans(answer)), None) for answer in answers]
    said = [
        [request.model for request in requests],
        [request.where for request in requests],
        [f"{request.sequence_length:,} tokens" for request in requests],
        [words.method(plan.strategy) if plan is not None else "nothing" for plan in firsts],
        [words.axis(plan.strategy, "precision") if plan is not None else "" for plan in firsts],
        [f"checkpointing {plan.strategy.checkpointing}" if plan is not None else "" for plan in firsts],
    ]
    labels = [""] * len(answers)
    for texts in said:
        if len(set(texts)) > 1 and len(set(labels)) < len(labels):
            labels = [f"{label}, {text}".removeprefix(", ") for label, text in zip(labels, texts, strict=True)]
    labels = [label or answer.request.model for label, answer in zip(labels, answers, strict=True)]
    return [label if labels.count(label) == 1 else f"{label} ({i})" for i, label in enumerate(labels, start=1)]


def _rows(answers: Sequence[FitResult | EstimateResult], groups: Sequence[str]) -> Iterator[Row]:
    for number, answer in enumerate(answers):
        plans = _plans(answer)
        measured = [_measures(plan) for _, plan in plans]
        for (rank, plan), own in zip(plans, measured, strict=True):
            group = number if len(answers) > 1 else groups.index(str(plan.strategy.finetuning))
            beaten = any(_beats(other, own) for other in measured)
            yield Row(answer.request, plan, rank, group, plan.memory.fits and not beaten)


def _measures(plan: Plan) -> tuple[float, float, float]:
    free = plan.memory.budget_bytes - plan.memory.process_bytes
    return plan.global_batch_size, plan.time.tokens_per_second, free


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def _chosen(answers: Sequence[FitResult | EstimateResult], rows: Sequence[Row]) -> Iterator[Row]:
    """Yields the first plan of each color."""
    seen: set[int] = set()
    for row in rows:
        if row.group not in seen:
            seen.add(row.group)
            yield row


def _subject(row: Row, label: str, catalog: CatalogSource) -> Subject:
    """Returns a plan with its pictures and commands; without them where its model is not here, or is untrusted code."""
    try:
        arguments = arguments_of_plan(row.request, row.plan, "the plan")
        model, gpu, size, steps = (arguments.pop(name) for name in _OWN_ARGUMENTS)
        workload = {name: arguments.pop(name) for name in _WORKLOAD}
        resolved = resolve_one(model, gpu, catalog, arguments, workload, size, steps)
        return Subject(row, label, curves(row.plan, *resolved), spelled(resolved[0]), "")
    except PlannerError as error:
        return Subject(row, label, None, None, error.message)

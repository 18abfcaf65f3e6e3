"""Provides `compare`, which lays plans side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hardware.errors import shown
from planner.records.asked.axes import RequestError
from planner.records.asked.request import Request
from planner.records.comparison import Compared, Comparison
from planner.records.plan import Plan
from planner.records.plan_file import read_plan
from planner.records.result import EstimateResult, FitResult
from planner.report.parts.format import plural
from strategies import OPTIONS

MOST = 8
"""Most plans that are laid side by side."""

_ENDINGS = {"model": "", "machine": "", "sequence_length": " tokens", "target_length": " target tokens"}
"""Fields of a request that distinguish plans, and words behind the value of each."""


def compare(*plans: FitResult | EstimateResult | str | Path) -> Comparison:
    """Lays plans side by side.

    Args:
        plans: Answers of `fit`, of which the plan to run counts, or of `estimate`, or paths of files with their JSON.
            Of an answer without a plan it is the smallest one, which does not fit.

    Returns:
        A column for each plan, named by what distinguishes it.

    Raises:
        RequestError: There are fewer than two plans, more than eight, or an answer has none.
        PlanFileError: A file does not hold a plan.
    """
    if not 2 <= len(plans) <= MOST:
        way_out = f"2 to {MOST} can: files, or a model with several --gpu, --sequence-length or values of an option"
        raise RequestError(f"{plural(len(plans), 'plan')} cannot be laid side by side", way_out)
    found = [_planned(plan) for plan in plans]
    titles = [", ".join(_said(request, plan, found)) or "plan" for request, plan in found]
    numbered = [title if titles.count(title) == 1 else f"{title} #{place}" for place, title in enumerate(titles, 1)]
    columns = (Compared(title=t, request=r, plan=p) for t, (r, p) in zip(numbered, found, strict=True))
    return Comparison(columns=tuple(columns))


def _planned(source: FitResult | EstimateResult | str | Path) -> tuple[Request, Plan]:
    if isinstance(source, str | Path):
        request, plan = read_plan(str(source))
        return request, _alone(plan)
    if isinstance(source, EstimateResult):
        return source.request, _alone(source)
    if not isinstance(source, FitResult):
        raise RequestError(f"{shown(source)} is no plan", "answers of fit and estimate, or files with their JSON")
    if source.plans:
        return source.request, source.recommended
    if source.shortfall is None:
        raise RequestError(f"nothing was found for {source.request.model}, not even a smallest plan", "planner fit")
    return source.request, source.shortfall.smallest


def _alone(plan: Plan) -> Plan:
    """Returns a plan without what an estimate adds."""
    return Plan.model_construct(**{name: getattr(plan, name) for name in Plan.model_fields})


def _said(request: Request, plan: Plan, all_of: Sequence[tuple[Request, Plan]]) -> Iterator[str]:
    """Yields what distinguishes a plan: the model, the machine, the length, or the options that were asked for."""
    requests = [other for other, _ in all_of]
    for name in _ENDINGS:
        if len({getattr(other, name) for other in requests}) > 1 and getattr(request, name) is not None:
            yield f"{getattr(request, name)}{_ENDINGS[name]}"
    where = {(other.gpu, other.gpus * other.nodes) for other in requests}
    if len(where) > 1 and request.machine is None:
        yield request.where
    differing = [name for name in OPTIONS if len({getattr(other, name) for other in requests}) > 1]
    if differing or len({*map(_key, requests)}) == 1:
        for name in differing or ("finetuning",):
            yield str(getattr(plan.strategy, name))


def _key(request: Request) -> tuple[object, ...]:
    return request.model, request.where, request.machine, request.sequence_length, request.target_length

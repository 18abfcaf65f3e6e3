"""Draws an answer in characters."""

from __future__ import annotations

from rich.console import Group, RenderableType

from planner.answers.curves import curves
from planner.problem.again import resolve_plan
from planner.problem.problem import CatalogSource
from planner.records.asked.request import Request
from planner.records.plan import Plan
from planner.records.result import EstimateResult, FitResult
from planner.report.plots.plan import PlanPlot
from planner.report.plots.scatter import Scatter


def plotted(result: FitResult | EstimateResult, catalog: CatalogSource = None) -> RenderableType:
    """Returns what rich draws: pictures of an estimate's plan; of a search all plans, and pictures of the one to run.

    Args:
        result: The answer.
        catalog: The catalog of the plan's GPU.

    Raises:
        PlannerError: The plan cannot be resolved again.
    """
    if isinstance(result, EstimateResult):
        return _of_plan(result.request, result, catalog)
    if not result.plans:
        return Group()
    first = _of_plan(result.request, result.recommended, catalog)
    plans = result.listed
    return Group(Scatter(plans, result.recommended), first) if len(plans) > 1 else first


def _of_plan(request: Request, plan: Plan, catalog: CatalogSource) -> PlanPlot:
    return PlanPlot(plan, curves(plan, *resolve_plan(request, plan, catalog)), request.sequence_length)

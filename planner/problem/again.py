"""Resolves a plan of an answer once more, for what is not written in it."""

from __future__ import annotations

from typing import Final

from planner.problem.problem import CatalogSource, Problem
from planner.problem.resolve import resolve_one, workload_of
from planner.records.asked.request import Request
from planner.records.plan import Plan
from planner.records.plan_file import arguments_of_plan
from planner.search import Candidate, Solver

_OWN: Final = ("model", "gpu", "micro_batch_size", "gradient_accumulation_steps")
"""Arguments of `estimate` that `resolve_one` takes by themselves."""


def resolve_plan(request: Request, plan: Plan, catalog: CatalogSource = None) -> tuple[Problem, Solver, Candidate]:
    """Returns what a plan of an answer is resolved to.

    Args:
        request: The request that the plan answers.
        plan: The plan.
        catalog: The catalog of its GPU.

    Raises:
        PlannerError: Its model or GPU is not known here, or the model is code, which an answer does not run.
    """
    arguments = arguments_of_plan(request, plan, "the plan")
    model, gpu, size, steps = (arguments.pop(name) for name in _OWN)
    workload = workload_of(arguments)
    axes = {name: value for name, value in arguments.items() if name not in workload}
    return resolve_one(model, gpu, catalog, axes, workload, size, steps)

"""Turns the arguments that searches have in common into fields of a request, and a request into its solver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware.errors import shown
from planner.problem.accumulation import accumulation_of, check_batches
from planner.problem.arguments import RunArguments
from planner.problem.goal import limits_of, order_of, run_fields
from planner.problem.problem import Problem
from planner.problem.resolve import workload_of
from planner.records.asked.amounts import parse_count
from planner.records.asked.axes import RequestError, several, whole
from planner.records.asked.request import left_free
from planner.search import Solver
from strategies import Objective


def fields_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of the request from the arguments of a search, by name.

    Raises:
        PlannerError: Arguments exclude each other, or one of them is no such value.
    """
    chosen = Objective.parse(given["objective"] or Objective.BATCH)
    names = ("max_accumulation", "gradient_accumulation_steps", "global_batch_size")
    batches = {name: given[name] for name in names}
    batches["tokens_per_step"] = parse_count("tokens_per_step", given["tokens_per_step"])
    check_batches(batches)
    workload = workload_of(given)
    return {
        **workload,
        "headroom": left_free(workload["headroom"]),
        "micro_batch_size": tuple(map(whole, several(given["micro_batch_size"]))),
        "objective": chosen,
        **batches,
        **run_fields(**{name: given[name] for name in RunArguments.__annotations__}),
    }


def number_of(name: str, value: int) -> int:
    """Returns a number of results; raises RequestError if it is no positive whole number."""
    number = whole(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise RequestError(f"{name} is {shown(number)}, which is not a positive whole number", "10 is the default")
    return number


def solver_of(problem: Problem) -> Solver:
    """Returns the solver of a request.

    Raises:
        ContradictionError: Its GPUs cannot divide the effective batch, or their price is needed and not known.
    """
    accumulation = accumulation_of(problem.request, problem.memory.real_tokens)
    sizes, order, limits = problem.request.micro_batch_size, order_of(problem), limits_of(problem)
    return Solver(problem.memory, problem.budget_bytes, accumulation, sizes, order, limits)

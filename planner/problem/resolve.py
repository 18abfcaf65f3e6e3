"""Resolves a request for a single configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hardware import GPU
from planner.extras import Progress
from planner.models import Foreign, Model
from planner.problem.accumulation import passes
from planner.problem.arguments import ConfigurationArguments, LengthArguments, WorkloadArguments
from planner.problem.goal import limits_of
from planner.problem.problem import CatalogSource, Problem
from planner.problem.questions import options_in
from planner.records.asked.amounts import parse_length
from planner.records.asked.axes import RequestError, whole
from planner.search import Candidate, Solver
from strategies import ContradictionError, UpTo

WORKLOAD: Final = ("gpus", "nodes", *LengthArguments.__annotations__, *WorkloadArguments.__annotations__)
"""Arguments of every question that are fields of its request as they stand."""


def workload_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of the workload from the arguments of a question, by name.

    Raises:
        RequestError: A length is none.
    """
    lengths = {name: parse_length(name, given[name]) for name in ("sequence_length", "target_length", "mean_length")}
    return {name: given[name] for name in WORKLOAD} | lengths


def resolve_asked(
    model: str | Model | Foreign,
    gpu: str | GPU,
    gpus: int | None,
    nodes: int,
    asked: ConfigurationArguments,
    **fields: Any,
) -> tuple[Problem, Solver, Candidate]:
    """Resolves a question about one configuration, as `resolve_one` does.

    Args:
        model: The model.
        gpu: The GPU or machine.
        gpus: GPUs per node.
        nodes: Number of nodes.
        asked: The other arguments, all of them.
        fields: More fields of the `Request`.

    Raises:
        PlannerError: As for `resolve_one`, or a length is none.
    """
    workload = {**workload_of({**asked, "gpus": gpus, "nodes": nodes}), **fields}
    sizes = asked["micro_batch_size"], asked["gradient_accumulation_steps"]
    return resolve_one(model, gpu, asked["catalog"], options_in(asked), workload, *sizes, asked["progress"])


def resolve_one(
    model: str | Model | Foreign,
    gpu: str | GPU,
    catalog: CatalogSource,
    axes: Mapping[str, Any],
    workload: Mapping[str, Any],
    micro_batch_size: int,
    gradient_accumulation_steps: int,
    progress: Progress = lambda _: None,
) -> tuple[Problem, Solver, Candidate]:
    """Resolves a request for one configuration and computes its memory and time, whether it fits or not.

    The arguments are those of `Problem`, with one value for each option; `workload` holds the fields of the `Request`
    that have no argument of their own. A `global_batch_size` among them decides the accumulation steps.

    Returns:
        The resolved request, a solver with its budget, and the candidate.

    Raises:
        PlannerError: An option has several values, the strategy cannot run, or `Problem` raises.
    """
    micro_batch_size, gradient_accumulation_steps = whole(micro_batch_size), whole(gradient_accumulation_steps)
    if gradient_accumulation_steps is None:
        raise RequestError("gradient_accumulation_steps is None, not a whole number", "1 accumulates nothing")
    sizes = {
        "micro_batch_size": (micro_batch_size,),
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "max_accumulation": None,
    }
    problem = Problem(model, gpu, catalog, axes, {"headroom": None, **workload, **sizes}, progress)
    wanted = problem.request.global_batch_size
    if wanted is not None:
        gradient_accumulation_steps = _steps(wanted, micro_batch_size * problem.cluster.world_size, sizes)
        made = {"gradient_accumulation_steps": gradient_accumulation_steps}
        problem.request = problem.request.model_copy(update=made)
    steps = UpTo(gradient_accumulation_steps)
    limits = limits_of(problem)
    solver = Solver(problem.memory, problem.budget_bytes, steps, limits=limits, limit_bytes=problem.limit_bytes)
    return problem, solver, solver.candidate(problem.strategy(), micro_batch_size, gradient_accumulation_steps)


def _steps(wanted: int, sequences: int, sizes: Mapping[str, Any]) -> int:
    """Returns the accumulation steps of an effective batch; raises ContradictionError if other steps are given."""
    steps, given = passes(wanted, sequences), sizes["gradient_accumulation_steps"]
    if given not in (1, steps):
        raise ContradictionError(
            f"global_batch_size={wanted} and gradient_accumulation_steps={given} contradict each other: "
            f"{sequences} sequences a pass make it in {steps} steps",
            "give one of the two",
        )
    return steps

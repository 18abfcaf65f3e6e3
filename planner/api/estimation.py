"""Provides `estimate`, which itemizes one configuration."""

from __future__ import annotations

from typing import Unpack

from hardware import GPU
from planner.answers.notes.notes import notes_for
from planner.answers.plans import plan_of
from planner.models import Model
from planner.problem.arguments import ConfigurationArguments
from planner.problem.problem import Problem
from planner.problem.questions import question
from planner.problem.resolve import resolve_asked
from planner.records.result import EstimateResult
from planner.search import Candidate, Solver


@question(ConfigurationArguments)
def estimate(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    global_batch_size: int | None = None,
    **asked: Unpack[ConfigurationArguments],
) -> EstimateResult:
    """Itemizes the memory and time of one configuration, whether it fits or not.

    Args:
        model: The model, as for `fit`.
        gpu: Name or alias of a GPU or a machine in the catalog, or a `GPU`, as for `fit`.
        gpus: GPUs per node, by default as for `fit`.
        nodes: Number of nodes.
        global_batch_size: Effective batch, in sequences, in place of the passes, which it decides.
        asked: Options of `SearchSpace` by name, with one value each. By default fine-tuning is full, several GPUs shard
            fully (with qlora not at all), and every other option has the first value of the default space: mixed
            precision where the GPU supports it, AdamW, no checkpointing.

    Returns:
        The plan, with its memory by category and by moment of the step in `memory`, its time in `time`, notes, and if
        it does not fit, `ways` out.

    Raises:
        ContradictionError: An option has several values, or the GPU, the model or another choice excludes a choice.
        PlannerError: Any other reason for which `fit` raises.
    """
    problem, solver, candidate = resolve_asked(model, gpu, gpus, nodes, asked, global_batch_size=global_batch_size)
    result = _itemized(problem, solver, candidate)
    if result.memory.fits:
        return result
    from planner.advice.shortfall import ways_of_one  # only where it is needed

    return result.model_copy(update={"ways": ways_of_one(problem, solver, candidate, "estimate")})


@question(ConfigurationArguments)
def estimate_alone(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    **asked: Unpack[ConfigurationArguments],
) -> EstimateResult:
    """Itemizes one configuration as `estimate` does, but without the ways out, which take most of its time.

    Raises:
        PlannerError: As for `estimate`.
    """
    return _itemized(*resolve_asked(model, gpu, gpus, nodes, asked))


def _itemized(problem: Problem, solver: Solver, candidate: Candidate) -> EstimateResult:
    plan, notes = plan_of(candidate, solver, serves=True), notes_for(problem, [candidate.strategy])
    return EstimateResult.model_construct(**dict(plan), request=problem.request, notes=notes)

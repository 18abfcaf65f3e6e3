"""Itemizes one configuration without the ways out, for those that try many."""

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
def itemize(
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
    return itemized(*resolve_asked(model, gpu, gpus, nodes, asked))


def itemized(problem: Problem, solver: Solver, candidate: Candidate) -> EstimateResult:
    """Returns the plan of a resolved configuration, with its notes and without ways out."""
    plan, notes = plan_of(candidate, solver, serves=True), notes_for(problem, [candidate.strategy])
    return EstimateResult.model_construct(**dict(plan), request=problem.request, notes=notes)

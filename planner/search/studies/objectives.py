"""Says what studies maximize, by name, and what a candidate has of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hardware import GIB
from planner.search.candidate import Candidate
from planner.search.engine import EngineSettings
from planner.search.solver import Solver
from strategies import Exactly, Objective

BATCH, SPEED, HEADROOM = "effective batch", "tokens per second", "headroom"
"""Names of what is maximized: sequences, tokens without padding, and GiB of the budget."""

FRONT = (BATCH, SPEED, HEADROOM)
"""Objectives of samplers that look for the Pareto front; others maximize the first or the second (`objective_of`)."""

_MANY = 100
"""Number from which on its digits behind the point say nothing."""


def objective_of(solver: Solver) -> str:
    """Returns the name of what a sampler of one objective maximizes.

    Where the batch is given, all candidates have the same, and the fastest one is the best. At the price of one
    machine, the fastest one is also the cheapest.
    """
    if solver.order.objective is Objective.MEMORY:
        return HEADROOM
    if solver.order.objective in (Objective.THROUGHPUT, Objective.COST):
        return SPEED
    return SPEED if isinstance(solver.accumulation, Exactly) else BATCH


def names_of(solver: Solver, settings: EngineSettings) -> Sequence[str]:
    """Returns the names of a study's objectives, all of which are maximized."""
    return FRONT if settings.sampler.facts.is_multi_objective else (objective_of(solver),)


def readable(values: Mapping[str, float]) -> dict[str, float]:
    """Returns values of objectives as a study keeps them: with as many digits as one reads.

    Ties that this makes are broken in the answer, which ranks candidates themselves.
    """
    return {name: round(value, 2 if name == HEADROOM or value < _MANY else 0) for name, value in values.items()}


def missing_gib(candidate: Candidate, solver: Solver) -> float:
    """Returns the GiB by which a candidate exceeds the budget; negative if it fits."""
    return (candidate.process_bytes - solver.budget_bytes) / GIB


def objectives(candidate: Candidate, solver: Solver) -> dict[str, float]:
    """Returns effective batch in samples, tokens per second without padding, and headroom in GiB, by name."""
    tokens = candidate.global_batch_size * solver.model.real_tokens
    return {
        BATCH: float(candidate.global_batch_size),
        SPEED: tokens / candidate.seconds,
        HEADROOM: -missing_gib(candidate, solver),
    }

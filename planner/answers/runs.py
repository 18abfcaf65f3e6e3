"""Writes down what a run takes with a plan, and what its tokens cost."""

from __future__ import annotations

from math import ceil

from planner.records.plan import Run
from planner.search import Candidate, Solver

_MILLION = 10**6


def usd_per_million_tokens(candidate: Candidate, solver: Solver) -> float | None:
    """Returns the price of all GPUs for a million tokens, in US dollars; None where their price is not known."""
    price = solver.limits.usd_per_second
    return None if price is None else price * candidate.seconds_per_sample / solver.model.real_tokens * _MILLION


def run_of(candidate: Candidate, solver: Solver) -> Run | None:
    """Returns what the run takes that is asked for; None if none is."""
    samples, price = solver.limits.samples, solver.limits.usd_per_second
    if samples is None:
        return None
    seconds = samples * candidate.seconds_per_sample
    return Run.model_construct(
        steps=ceil(samples / candidate.global_batch_size),
        seconds=seconds,
        usd=None if price is None else price * seconds,
    )

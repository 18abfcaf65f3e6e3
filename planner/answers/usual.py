"""Finds the fastest plans at a usual effective batch, which are shown together with those of the largest batches."""

from __future__ import annotations

from collections import Counter

from planner.answers.settled import settle
from planner.search import Candidate, Found, Order, Solver, ranked
from planner.search.alike import NOTICED
from strategies import Chain, Exactly, Finetuning, Objective, Optimizer, Steps, Strategy, usual_batch

_ADAMW = (Optimizer.ADAMW, Optimizer.ADAMW_FOREACH, Optimizer.ADAMW_FP32_MASTER)
"""AdamW with states of at least 16 bits."""


def usual_of(found: Found, solver: Solver, *, bounded: bool) -> list[Candidate]:
    """Returns the fastest candidate of each method at a usual effective batch, the one to run first.

    Quantizing the base and computing activations again are for where memory is short. So a method comes first that does
    without both, if there is one, and then the fastest. Of each method those come first that step with AdamW, for which
    learning rates are published.

    Args:
        found: What a search has found.
        solver: The solver that found it.
        bounded: Whether the user bounds the accumulation steps; the default bound is for batches that are open.

    Returns:
        The candidates; none if the batch is given, or if nothing makes a usual one.
    """
    at_batch = at_usual_batch(solver, bounded=bounded) if found.ranking else None
    if at_batch is None:
        return []
    order = at_batch.order
    first = (Chain(chain.least) for chain in found.chains)  # no other one of a chain is faster
    fastest = found._replace(ranking=ranked(first, at_batch), rejected=Counter())
    settle(fastest, at_batch, 1)
    return sorted(fastest.ranking.best_by_method(), key=lambda c: (order.risks(c.strategy), *_rank(c)))


def at_usual_batch(solver: Solver, *, bounded: bool) -> Solver | None:
    """Returns a solver for the fastest candidates at a usual effective batch; None if the batch is given.

    Args:
        solver: The solver of the request.
        bounded: Whether the user bounds the accumulation steps.
    """
    accumulation, batch = solver.accumulation, usual_batch(solver.cluster.world_size)
    if isinstance(accumulation, Exactly):
        return None
    if isinstance(accumulation, Steps):
        wanted = Exactly(batch, steps=accumulation.steps)
    else:
        wanted = Exactly(batch, max_steps=accumulation.max_steps if bounded else None)

    def risks(strategy: Strategy) -> int:
        return 2 * solver.order.risks(strategy) + (strategy.optimizer not in _ADAMW)

    order = Order(Objective.THROUGHPUT, risks)
    return Solver(solver.model, solver.budget_bytes, wanted, solver.allowed, order, solver.limits)


def _rank(candidate: Candidate) -> tuple[bool, float]:
    """Returns whether a candidate saves memory at a price, and its time, a quantized base having to be much faster."""
    strategy = candidate.strategy
    quantizes = strategy.finetuning.method is Finetuning.QLORA
    seconds = candidate.seconds_per_sample * (1 + NOTICED * quantizes)
    return quantizes or strategy.checkpointing.recomputes, seconds


def fastest_of(found: Found, solver: Solver) -> Candidate | None:
    """Returns the fastest candidate that fits, whatever the limits of the run; None if none fits.

    Args:
        found: What a search has found.
        solver: The solver that found it.
    """
    order = solver.order._replace(objective=Objective.THROUGHPUT)
    unbounded = solver.limits._replace(seconds=None, usd=None)
    at_once = Solver(solver.model, solver.budget_bytes, solver.accumulation, solver.allowed, order, unbounded)
    fastest = found._replace(ranking=ranked(found.chains, at_once), rejected=Counter())
    settle(fastest, at_once, 1)
    return next(iter(fastest.ranking.first(1)), None)

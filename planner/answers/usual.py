"""Finds the fastest plans at a usual effective batch, which stand beside those of the largest ones."""

from __future__ import annotations

from collections import Counter

from planner.answers.settled import settle
from planner.search import Candidate, Found, Order, Solver, ranked
from strategies import Exactly, Finetuning, Objective, Steps, Strategy, usual_batch


def usual_of(found: Found, solver: Solver, *, bounded: bool) -> list[Candidate]:
    """Returns the fastest candidate of each method at a usual effective batch, the one to run first.

    A quantized base comes last: where a whole one fits, its layers are nearer to the model that was published.

    Args:
        found: What a search has found.
        solver: The solver that found it.
        bounded: Whether the user bounds the accumulation steps; the default bound is for batches that are open.

    Returns:
        The candidates; none if the batch is given, or if nothing makes a usual one.
    """
    accumulation, batch = solver.accumulation, usual_batch(solver.cluster.world_size)
    if isinstance(accumulation, Exactly) or not found.ranking:
        return []
    if isinstance(accumulation, Steps):
        wanted = Exactly(batch, steps=accumulation.steps)
    else:
        wanted = Exactly(batch, max_steps=accumulation.max_steps if bounded else None)

    def risks(strategy: Strategy) -> int:
        return 2 * solver.order.risks(strategy) + (strategy.finetuning.method is Finetuning.QLORA)

    at_batch = Solver(
        solver.model,
        solver.budget_bytes,
        wanted,
        solver.allowed,
        Order(Objective.THROUGHPUT, risks),
        solver.limits,
    )
    fastest = found._replace(ranking=ranked(found.chains, at_batch), rejected=Counter())
    settle(fastest, at_batch, 1)
    return fastest.ranking.best_by_method()

"""Writes down how long a step takes."""

from __future__ import annotations

from planner.records.plan import Shares, Time
from planner.search import Candidate, Solver
from planner.time import Rates, model_flops_utilization, seconds_between, step_time


def time_of(candidate: Candidate, solver: Solver) -> Time:
    """Returns the time of a candidate's optimizer step.

    Args:
        candidate: The candidate.
        solver: The solver that found it.
    """
    model, cluster, strategy = solver.model, solver.cluster, candidate.strategy
    size, steps, ranks = candidate.micro_batch_size, candidate.gradient_accumulation_steps, cluster.world_size
    work, again = model.work(strategy), model.recomputation(strategy)
    found = step_time(work, again, model.traffic(strategy), Rates.of(cluster, strategy), size, steps)
    low, high = seconds_between(found, measured=cluster.gpu.sustained.measured)
    tokens = candidate.global_batch_size * model.real_tokens
    return Time.model_construct(
        step_seconds=found.total,
        tokens_per_second=tokens / found.total,
        tokens_per_second_per_gpu=tokens / found.total / ranks,
        step_seconds_low=low,
        step_seconds_high=high,
        model_flops_utilization=model_flops_utilization(work, again, cluster, strategy, size * steps, found.total),
        shares=Shares.model_construct(None, **{name: part / found.total for name, part in found.parts.items()}),
    )

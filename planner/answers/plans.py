"""Turns solved candidates into plans.

Pydantic models are made with `model_construct`, without validation: the values are the planner's own, and validating
them would take as long as the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planner.answers.memory import judged_memory
from planner.answers.runs import run_of, usd_per_million_tokens
from planner.answers.times import time_of
from planner.memory.reserved import processes_of
from planner.records.plan import Plan, StrategyChoice
from planner.search import Candidate, Solver
from strategies import Allocator, risks

if TYPE_CHECKING:
    from planner.memory.requests.process import Process


def plan_of(candidate: Candidate, solver: Solver, *, serves: bool | None = None) -> Plan:
    """Returns a candidate as users see it: its strategy, sizes, memory and time.

    Args:
        candidate: The candidate.
        solver: The solver that found it, with the budget.
        serves: Whether the allocator's model serves all requests of the steps, which takes about 0.1 s. If None, that
            of native segments does so: no closed form says what these need.
    """
    processes: Sequence[Process] = ()
    undecided = candidate.strategy.allocator is Allocator.NATIVE and candidate.served is None
    if serves or (serves is None and undecided):
        processes = processes_of(
            solver.model, candidate.strategy, candidate.micro_batch_size, candidate.gradient_accumulation_steps
        )
    ranks = solver.cluster.world_size
    return Plan.model_construct(
        strategy=StrategyChoice.of(candidate.strategy),
        micro_batch_size=candidate.micro_batch_size,
        gradient_accumulation_steps=candidate.gradient_accumulation_steps,
        data_parallel_size=ranks,
        global_batch_size=candidate.global_batch_size,
        memory=judged_memory(candidate, solver, [process.requests() for process in processes]),
        time=time_of(candidate, solver),
        usd_per_million_tokens=usd_per_million_tokens(candidate, solver),
        run=run_of(candidate, solver),
        risks=tuple(says for _, says in risks(candidate.strategy, solver.cluster.gpu)),
    )

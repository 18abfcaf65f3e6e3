"""Each objective, with and without limits of a run, equals trying every micro-batch with every number of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from toy import LORA, Toy

from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, TracedModel
from planner.models import find_model
from planner.search import Candidate, Order, RunLimits, Solver, search
from planner.search.order import BY_BATCH, KEYS
from strategies import (
    Accumulation,
    Exactly,
    Finetuning,
    Objective,
    Optimizer,
    Precision,
    Space,
    Steps,
    Strategy,
    UpTo,
    num_risks,
    violation,
)

MOST_STEPS = 5
CASES = [("llama-2-7b", "A100-40GB-SXM", 1, 2048), ("qwen2.5-1.5b", "RTX-4090", 2, 1024)]
VALUES: dict[Objective, Callable[[Candidate], float]] = {
    Objective.BATCH: lambda c: -c.global_batch_size,
    Objective.THROUGHPUT: lambda c: c.seconds / c.global_batch_size,
    Objective.COST: lambda c: c.seconds / c.global_batch_size,
    Objective.MEMORY: lambda c: c.process_bytes,
}
"""What each objective is about, in its plainest form; smaller is better."""


def of(model: str, gpu: str, gpus: int, sequence: int) -> tuple[Space, MemoryModel, int]:
    found = load_catalog().get(gpu)
    cluster = Cluster(found, gpus)
    memory = MemoryModel(TracedModel(find_model(model).inventory, sequence), cluster)
    return Space.default(cluster), memory, int(found.memory_bytes * 0.95)


def steps_of(accumulation: Accumulation, ranks: int, size: int) -> Iterator[int]:
    """Every number of steps that an accumulation allows with a micro-batch."""
    for steps in range(1, 129):
        if (
            (isinstance(accumulation, UpTo) and steps <= accumulation.max_steps)
            or (isinstance(accumulation, Steps) and steps == accumulation.steps)
            or (isinstance(accumulation, Exactly) and size * steps * ranks == accumulation.global_batch_size)
        ):
            yield steps


def tried(solver: Solver, strategy: Strategy) -> Iterator[Candidate]:
    """Every candidate of a strategy that fits within the limits, of every micro-batch and number of steps."""
    samples, seconds = solver.limits.samples, solver.limits.seconds
    for size in count(1):
        if solver.candidate(strategy, size, 1).process_bytes > solver.budget_bytes:
            return
        for steps in steps_of(solver.accumulation, solver.cluster.world_size, size):
            found = solver.candidate(strategy, size, steps)
            in_time = seconds is None or samples is None or samples / found.global_batch_size * found.seconds <= seconds
            if found.process_bytes <= solver.budget_bytes and in_time:
                yield found


@pytest.mark.parametrize("accumulation", [UpTo(MOST_STEPS), Steps(3), Exactly(24)], ids=str)
@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_ranking_of_an_objective_is_that_of_trying_everything(
    case: tuple[str, str, int, int], objective: Objective, accumulation: Accumulation
) -> None:
    space, memory, budget = of(*case)
    solver = Solver(memory, budget, accumulation, order=Order(objective))
    strategies = [s for s in space.strategies(memory.cluster.gpu) if violation(s, memory.cluster) is None]
    best = {s: min((VALUES[objective](c) for c in tried(solver, s)), default=None) for s in strategies}
    ranking = search(space, solver).ranking
    found = ranking.first(len(ranking))
    assert {c.strategy: VALUES[objective](c) for c in found} == {s: v for s, v in best.items() if v is not None}
    assert [KEYS[objective](c) for c in found] == sorted(KEYS[objective](c) for c in found)


@pytest.mark.parametrize("accumulation", [UpTo(MOST_STEPS), Steps(2), Exactly(8)], ids=str)
@pytest.mark.parametrize("objective", [Objective.BATCH, Objective.MEMORY])
def test_a_deadline_takes_away_what_is_slower_and_nothing_else(
    objective: Objective, accumulation: Accumulation
) -> None:
    space, memory, budget = of(*CASES[0])
    limits = RunLimits(10_000, 10_000 * 2048 / 3300)  # 3,300 tokens per second
    solver = Solver(memory, budget, accumulation, order=Order(objective), limits=limits)
    strategies = [s for s in space.strategies(memory.cluster.gpu) if violation(s, memory.cluster) is None]
    best = {s: min((VALUES[objective](c) for c in tried(solver, s)), default=None) for s in strategies}
    result = search(space, solver)
    found = {c.strategy: VALUES[objective](c) for c in result.ranking.first(len(result.ranking))}
    assert found == {s: v for s, v in best.items() if v is not None}
    without = search(space, Solver(memory, budget, accumulation, order=Order(objective)))
    assert 0 < len(found) < len(without.ranking)
    assert result.rejected["takes longer than the deadline"] == len(without.ranking) - len(found)
    assert result.rejected["does not fit into memory"] == without.rejected["does not fit into memory"]


def test_a_budget_takes_away_what_is_dearer() -> None:
    # 4 samples take 5 s: 1.25 s a sample; with more steps it stays, and a sample at a time takes 2 s.
    cheap = RunLimits(100, usd=130, usd_per_second=1)
    found = Solver(Toy(), 50, UpTo(1), limits=cheap).solve(LORA)
    assert found is not None
    assert (found.micro_batch_size, found.seconds) == (4, 5.0)
    solver = Solver(Toy(), 50, UpTo(1), limits=cheap._replace(usd=124))
    assert (solver.solve(LORA), solver.exceeds(LORA)) == (None, "costs more than the budget")
    assert solver.limits.exceeded(1.25) == "costs more than the budget"


def test_the_least_memory_in_time_has_the_smallest_micro_batch_that_is_fast_enough() -> None:
    def size(seconds: float | None) -> int | None:
        limits = RunLimits(100, seconds)
        found = Solver(Toy(), 100, UpTo(1), order=Order(Objective.MEMORY), limits=limits).solve(LORA)
        return found and found.micro_batch_size

    # A sample takes 1 s and a pass 1 s: 2 s a sample alone, 1.5 s of two, 1.25 s of four.
    assert [size(limit) for limit in (None, 200, 199, 150, 149, 125, 110)] == [1, 1, 2, 2, 3, 4, None]


RISKY = {
    "precision": (Precision.FP16_MIXED, Precision.BF16_MIXED),
    "finetuning": (Finetuning.LORA, Finetuning.FREEZE),
    "optimizer": (Optimizer.SGD, Optimizer.ADAMW),
    "lora_rank": (4, 16, 2, 8, 64),
}


@pytest.mark.parametrize("objective", list(Objective))
def test_risks_come_before_the_objective_and_chains_are_cut_where_they_change(objective: Objective) -> None:
    space, memory, budget = of(*CASES[0])
    gpu = memory.cluster.gpu

    def risks(strategy: Strategy) -> int:
        return num_risks(strategy, gpu)

    solver = Solver(memory, budget, UpTo(MOST_STEPS), order=Order(objective, risks))
    space = space._replace(**RISKY)
    strategies = [s for s in space.strategies(gpu) if violation(s, memory.cluster) is None]
    best = {s: min((VALUES[objective](c) for c in tried(solver, s)), default=None) for s in strategies}
    ranking = search(space, solver).ranking
    found = ranking.first(len(ranking))
    assert {c.strategy: VALUES[objective](c) for c in found} == {s: v for s, v in best.items() if v is not None}
    keys = [(risks(c.strategy), *KEYS[objective](c)) for c in found]
    assert keys == sorted(keys)
    assert {risks(c.strategy) for c in found} == {0, 1, 2, 3}
    assert risks(found[0].strategy) == 0
    plain = search(space, Solver(memory, budget, UpTo(MOST_STEPS), order=BY_BATCH._replace(objective=objective)))
    assert risks(plain.ranking.first(1)[0].strategy) > 0 or objective is not Objective.MEMORY


def test_what_is_asked_for_by_name_is_no_risk() -> None:
    strategy = LORA._replace(precision=Precision.FP16_MIXED, optimizer=Optimizer.ADAMW)
    gpu = load_catalog().get("A100-40GB-SXM")
    assert num_risks(strategy, gpu) == 2  # rank 1
    assert num_risks(strategy, gpu, {"precision"}) == 1
    assert num_risks(strategy, gpu, {"precision", "lora_rank"}) == 0
    assert num_risks(strategy, load_catalog().get("T4"), {"lora_rank"}) == 0

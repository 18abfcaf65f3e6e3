"""The front is what remains of all candidates when each that another one beats is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import LORA, SECOND, Toy, chain_of

from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, TracedModel
from planner.memory.step.traffic import Traffic
from planner.models import find_model
from planner.search import Candidate, Order, RunLimits, Solver, search
from planner.search.pareto import Point, pareto, undominated
from strategies import Accumulation, Chain, Exactly, Precision, Space, Steps, Strategy, UpTo, num_risks, violation


def plainly(points: set[Point]) -> set[Point]:
    """Each point against all others."""
    return {p for p in points if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)}


@given(st.lists(st.tuples(st.integers(-4, 0), st.integers(1, 5), st.integers(1, 5)), max_size=40))
def test_points_that_no_other_one_beats_remain(numbers: list[tuple[int, int, int]]) -> None:
    points = {Point(*three) for three in numbers}
    assert set(undominated(points)) == plainly(points)
    assert list(undominated(points)) == sorted(plainly(points))


def point_of(candidate: Candidate) -> Point:
    return Point(-candidate.global_batch_size, candidate.seconds_per_sample, candidate.process_bytes)


def all_of(solver: Solver, strategy: Strategy, most_steps: int) -> Iterator[Candidate]:
    """Every micro-batch that fits with every number of steps."""
    accumulation = solver.accumulation
    for size in count(1):
        if solver.candidate(strategy, size, 1).process_bytes > solver.budget_bytes:
            return
        for steps in range(1, most_steps + 1):
            found = solver.candidate(strategy, size, steps)
            wanted = (
                steps == accumulation.steps
                if isinstance(accumulation, Steps)
                else isinstance(accumulation, UpTo) or found.global_batch_size == accumulation.global_batch_size
            )
            if wanted and found.process_bytes <= solver.budget_bytes and solver.exceeded(found) is None:
                yield found


@pytest.mark.parametrize("accumulation", [UpTo(5), Steps(2), Exactly(24)], ids=str)
@pytest.mark.parametrize(
    ("model", "gpu", "gpus", "sequence"),
    [("llama-2-7b", "A100-40GB-SXM", 1, 2048), ("qwen2.5-1.5b", "RTX-4090", 2, 2048)],
)
def test_the_front_is_that_of_trying_everything(
    model: str, gpu: str, gpus: int, sequence: int, accumulation: Accumulation
) -> None:
    found = load_catalog().get(gpu)
    cluster = Cluster(found, gpus)
    memory = MemoryModel(TracedModel(find_model(model).inventory, sequence), cluster)
    space = Space.default(cluster)._replace(lora_rank=(8, 16))
    solver = Solver(memory, int(found.memory_bytes * 0.95), accumulation)
    strategies = [s for s in space.strategies(found) if violation(s, cluster) is None]
    most = accumulation.max_steps if isinstance(accumulation, UpTo) else 24
    points = {point_of(c) for strategy in strategies for c in all_of(solver, strategy, most or 24)}
    front = pareto(search(space, solver).chains, solver)
    assert list(map(point_of, front)) == sorted(plainly(points))


@dataclass
class Summing(Toy):
    """Sums of gradients take longer than the optimizer step, so that a sample is slower with more steps."""

    def traffic(self, strategy: Strategy) -> Traffic:
        return Traffic(gradient_bytes=SECOND)


@pytest.mark.parametrize("limits", [RunLimits(), RunLimits(100, 500.0)])
def test_fewer_steps_are_on_the_front_where_they_are_faster(limits: RunLimits) -> None:
    solver = Solver(Summing(), 58, UpTo(9), limits=limits)
    points = {point_of(c) for c in all_of(solver, LORA, 9)}
    front = pareto([Chain(LORA)], solver)
    assert list(map(point_of, front)) == sorted(plainly(points))
    assert {5, 6} < {candidate.gradient_accumulation_steps for candidate in front}


def test_of_a_chain_the_first_is_on_the_front() -> None:
    front = pareto([chain_of(1, 2, 4)], Solver(Toy(), 100, UpTo(2)))
    assert {c.strategy.finetuning for c in front} == {LORA.finetuning}
    assert pareto([], Solver(Toy(), 100, UpTo(2))) == []


def test_what_puts_convergence_at_risk_is_not_on_the_front() -> None:
    gpu = load_catalog().get("A100-40GB-SXM")
    risky = LORA._replace(precision=Precision.FP16_MIXED)
    solver = Solver(Toy(), 100, UpTo(2), order=Order(risks=lambda strategy: num_risks(strategy, gpu)))
    assert {c.strategy for c in pareto([Chain(risky), Chain(LORA)], solver)} == {LORA}
    assert {c.strategy for c in pareto([Chain(risky)], solver)} == {risky}

"""The solved search equals trying every strategy with every micro-batch."""

from typing import Any

import pytest

import planner
from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, TracedModel
from planner.models import find_model
from planner.search import Candidate, Solver, search
from strategies import (
    Attention,
    Exactly,
    Finetuning,
    GradientSync,
    Precision,
    Space,
    Strategy,
    UnquantizedDtype,
    UpTo,
    violation,
)

CASES = [
    # The budget binds for most strategies:
    ("llama-2-7b", "A100-40GB-SXM", 1, 2048),
    ("qwen2.5-1.5b", "RTX-4090", 2, 1024),
    ("gpt2", "T4", 1, 1024),
    ("pythia-1.4b", "L4", 8, 512),
    # Slack: everything fits.
    ("smollm2-135m", "H100-80GB-SXM", 1, 4096),
    # Impossible:
    ("llama-2-70b", "T4", 1, 2048),
]


def solver_for(model: str, gpu: str, gpus: int, sequence: int, accumulation: UpTo | Exactly) -> tuple[Space, Solver]:
    found = load_catalog().get(gpu)
    cluster = Cluster(found, gpus)
    memory = MemoryModel(TracedModel(find_model(model).inventory, sequence), cluster)
    return Space.default(cluster), Solver(memory, int(found.memory_bytes * 0.95), accumulation)


def scanned(solver: Solver, strategy: Strategy, steps: int) -> int:
    """The largest micro-batch that fits, found by trying one after the other."""
    footprint, size = solver.model.footprint(strategy, micro_batches=steps), 0
    while footprint.process_bytes(size + 1) <= solver.budget_bytes:
        size += 1
    return size


def ranked(space: Space, solver: Solver) -> list[Candidate]:
    """All candidates that fit, best first."""
    ranking = search(space, solver).ranking
    return ranking.first(len(ranking))


def strategies_of(space: Space, cluster: Cluster) -> list[Strategy]:
    return [s for s in space.strategies(cluster.gpu) if violation(s, cluster) is None]


@pytest.mark.parametrize(("model", "gpu", "gpus", "sequence"), CASES)
def test_every_strategy_gets_the_batch_that_trying_all_micro_batches_finds(
    model: str, gpu: str, gpus: int, sequence: int
) -> None:
    space, solver = solver_for(model, gpu, gpus, sequence, UpTo(4))
    ranks = solver.cluster.world_size
    expected = {}
    for strategy in strategies_of(space, solver.cluster):
        best = max(scanned(solver, strategy, steps) * steps * ranks for steps in (1, 2, 3, 4))
        if best:
            expected[strategy] = best
    found = search(space, solver)
    assert {c.strategy: c.global_batch_size for c in found.ranking.first(len(found.ranking))} == expected
    assert found.num_strategies - len(expected) == found.rejected["does not fit into memory"]


@pytest.mark.parametrize(("model", "gpu", "gpus", "sequence"), CASES[:4])
def test_a_wanted_batch_is_met_exactly_by_the_fastest_of_all_ways_to_make_it(
    model: str, gpu: str, gpus: int, sequence: int
) -> None:
    wanted = 48
    space, solver = solver_for(model, gpu, gpus, sequence, Exactly(wanted))
    expected = {}
    for strategy in strategies_of(space, solver.cluster):
        ways = [
            solver.candidate(strategy, size, steps)
            for size in range(1, wanted + 1)
            for steps in range(1, wanted + 1)
            if size * steps * gpus == wanted
        ]
        fitting = [way.rank for way in ways if way.process_bytes <= solver.budget_bytes]
        if fitting:
            expected[strategy] = min(fitting)
    assert {c.strategy: c.rank for c in ranked(space, solver)} == expected


def test_candidates_are_ranked_by_batch_then_time_then_recomputation_then_reductions_then_headroom() -> None:
    space, solver = solver_for("llama-2-7b", "A100-80GB-SXM", 8, 2048, UpTo(16))
    candidates = ranked(space, solver)
    keys = [
        (-c.global_batch_size, c.seconds, c.strategy.checkpointing == "full", syncs_each(c), c.process_bytes)
        for c in candidates
    ]
    assert keys == sorted(keys)


def syncs_each(candidate: Candidate) -> bool:
    return candidate.strategy.to_options().get("gradient_sync") is GradientSync.EACH


def _twin(candidate: Candidate, batches: dict[Strategy, int]) -> int:
    """The effective batch of the same strategy with one reduction per step."""
    assert candidate.syncs_less is not None
    return batches.get(candidate.syncs_less, 0)


def test_more_reductions_are_recommended_only_where_they_gain_something() -> None:
    space, solver = solver_for("llama-2-7b", "A100-80GB-SXM", 8, 2048, UpTo(16))
    ranking = search(space, solver).ranking
    recommended, all_of_them = ranking.recommended(len(ranking)), ranking.first(len(ranking))
    batches = {c.strategy: c.global_batch_size for c in all_of_them}
    left_out = [c for c in all_of_them if c not in recommended]
    assert left_out
    assert all(syncs_each(c) and _twin(c, batches) == c.global_batch_size for c in left_out)
    gaining = [c for c in recommended if syncs_each(c)]
    assert gaining
    assert all(_twin(c, batches) < c.global_batch_size for c in gaining)
    assert recommended[:3] == ranking.recommended(3)


def test_of_loaded_dtypes_that_deepspeed_casts_alike_one_is_recommended() -> None:
    def dtypes(**asked: Any) -> set[UnquantizedDtype | None]:
        common = {"gpu": "RTX-4090", "gpus": 2, "finetuning": "qlora", "sharding": "zero3", "top": 20}
        return {plan.strategy.unquantized_dtype for plan in planner.fit("pythia-70m", **common, **asked).plans}

    assert dtypes() == {UnquantizedDtype.FP32}
    assert dtypes(unquantized_dtype="bf16") == {UnquantizedDtype.BF16}


def test_only_given_micro_batches_are_used() -> None:
    space, solver = solver_for("llama-2-7b", "A100-40GB-SXM", 1, 2048, UpTo(16))
    solver.allowed = (8, 4)
    assert {c.micro_batch_size for c in ranked(space, solver)} <= {4, 8}


WIDE = {
    "finetuning": (Finetuning.LORA, Finetuning.QLORA),
    "lora_rank": (512, 8, 64, 4096, 2048, 1024),
    "precision": (Precision.BF16_MIXED, Precision.BF16_TRUE),
    "attention": (Attention.SDPA, Attention.EAGER),
}
"""Ranks in no order, of which the largest do not fit."""


@pytest.mark.parametrize("accumulation", [UpTo(8), Exactly(96)])
def test_ranks_that_are_bisected_are_ranked_as_if_each_was_solved(accumulation: UpTo | Exactly) -> None:
    space, solver = solver_for("llama-2-7b", "A100-40GB-SXM", 1, 2048, accumulation)
    space = space._replace(**WIDE)
    solved = [solver.solve(strategy) for strategy in strategies_of(space, solver.cluster)]
    expected = [c for c in solved if c is not None]
    found = search(space, solver)
    assert 0 < len(expected) < found.num_strategies == len(solved)
    assert sorted(c.rank for c in expected) == [c.rank for c in ranked(space, solver)]
    assert {c.strategy for c in expected} == {c.strategy for c in ranked(space, solver)}
    assert len(found.ranking) == len(expected) == found.num_strategies - found.rejected["does not fit into memory"]


def test_candidates_that_are_taken_away_leave_the_others_as_they_were() -> None:
    space, solver = solver_for("llama-2-7b", "A100-40GB-SXM", 1, 2048, UpTo(8))
    ranking = search(space._replace(**WIDE), solver).ranking
    before = ranking.first(len(ranking))
    assert [ranking.take() for _ in range(7)] == before[:7]
    assert ranking.first(len(before)) == before[7:]
    assert [c.strategy.finetuning.method for c in ranking.best_by_method()] == list(
        dict.fromkeys(c.strategy.finetuning.method for c in before[7:])
    )

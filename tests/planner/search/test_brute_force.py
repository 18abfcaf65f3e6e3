"""The solved search equals trying every strategy with every micro-batch."""

import pytest

from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, Traced
from planner.models import find_model
from planner.search import Solver, search
from strategies import Exactly, Space, Strategy, UpTo

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
    memory = MemoryModel(Traced(find_model(model).inventory, sequence), cluster)
    return Space.default(cluster), Solver(memory, int(found.memory_bytes * 0.95), accumulation)


def scanned(solver: Solver, strategy: Strategy, steps: int) -> int:
    """The largest micro-batch that fits, found by trying one after the other."""
    footprint, size = solver.model.footprint(strategy, accumulates=steps > 1), 0
    while footprint.process_bytes(size + 1) <= solver.budget_bytes:
        size += 1
    return size


@pytest.mark.parametrize(("model", "gpu", "gpus", "sequence"), CASES)
def test_every_strategy_gets_the_batch_that_trying_all_micro_batches_finds(
    model: str, gpu: str, gpus: int, sequence: int
) -> None:
    space, solver = solver_for(model, gpu, gpus, sequence, UpTo(4))
    ranks = solver.cluster.world_size
    expected = {}
    for strategy in space.valid(solver.cluster)[0]:
        best = max(scanned(solver, strategy, steps) * steps * ranks for steps in (1, 2, 3, 4))
        if best:
            expected[strategy] = best
    found = search(space, solver)
    assert {c.strategy: c.global_batch_size for c in found.candidates} == expected
    assert found.num_strategies - len(expected) == found.rejected["does not fit into memory"]


@pytest.mark.parametrize(("model", "gpu", "gpus", "sequence"), CASES[:4])
def test_a_wanted_batch_is_met_exactly_by_the_fastest_of_all_ways_to_make_it(
    model: str, gpu: str, gpus: int, sequence: int
) -> None:
    wanted = 48
    space, solver = solver_for(model, gpu, gpus, sequence, Exactly(wanted))
    expected = {}
    for strategy in space.valid(solver.cluster)[0]:
        ways = [
            solver.candidate(strategy, size, steps)
            for size in range(1, wanted + 1)
            for steps in range(1, wanted + 1)
            if size * steps * gpus == wanted
        ]
        fitting = [way.rank for way in ways if way.process_bytes <= solver.budget_bytes]
        if fitting:
            expected[strategy] = min(fitting)
    assert {c.strategy: c.rank for c in search(space, solver).candidates} == expected


def test_candidates_are_ranked_by_batch_then_time_then_recomputation_then_headroom() -> None:
    space, solver = solver_for("llama-2-7b", "A100-80GB-SXM", 8, 2048, UpTo(16))
    candidates = search(space, solver).candidates
    keys = [(-c.global_batch_size, c.seconds, c.strategy.checkpointing == "full", c.process_bytes) for c in candidates]
    assert keys == sorted(keys)


def test_only_given_micro_batches_are_used() -> None:
    space, solver = solver_for("llama-2-7b", "A100-40GB-SXM", 1, 2048, UpTo(16))
    solver.allowed = (8, 4)
    assert {c.micro_batch_size for c in search(space, solver).candidates} <= {4, 8}

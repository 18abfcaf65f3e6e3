"""The exhaustive engine decides every strategy, chains of them by bisection, and refuses what would take too long."""

from __future__ import annotations

from typing import Any

import pytest
from toy import A100, Toy

from hardware import Cluster
from planner.search import Solver, TooManyStrategiesError, exhaustive, search, smallest
from strategies import (
    Checkpointing,
    Exactly,
    Finetuning,
    Freeze,
    Lora,
    Optimizer,
    Precision,
    Sharding,
    Space,
    Strategy,
    UpTo,
)

RANKS = (64, 1, 4, 2, 32, 16, 8)
SPACE = Space.default(Cluster(A100))._replace(
    precision=(Precision.FP32,),
    optimizer=(Optimizer.SGD,),
    finetuning=(Finetuning.LORA,),
    lora_rank=RANKS,
    checkpointing=(Checkpointing.NONE,),
)


def ranks_of(found: Any) -> list[int]:
    return [candidate.strategy.finetuning.rank for candidate in found.ranking.first(99)]


@pytest.mark.parametrize("fitting", range(8))
def test_of_a_chain_those_fit_that_take_less_than_the_first_that_does_not(fitting: int) -> None:
    # A rank takes 10 bytes and a sample 10: rank 2**n fits from 10 x 2**n + 10 on.
    budget = 10 * 2 ** (fitting - 1) + 10 if fitting else 19
    found = search(SPACE, Solver(Toy(), budget, UpTo(1)))
    assert ranks_of(found) == sorted(RANKS)[:fitting]
    assert (found.num_strategies, len(found.ranking), found.num_trials) == (7, fitting, None)
    assert found.rejected == ({"does not fit into memory": 7 - fitting} if fitting < 7 else {})


def test_a_chain_is_bisected_and_not_solved_one_by_one() -> None:
    asked: list[Strategy] = []

    def bytes_of(strategy: Strategy, accumulates: bool) -> tuple[int, int]:
        asked.append(strategy)
        method = strategy.finetuning
        return (10 * method.rank if isinstance(method, Lora) else 10), 10

    space = SPACE._replace(lora_rank=tuple(range(1, 1025)))
    found = search(space, Solver(Toy(bytes_of=bytes_of), 5_010, UpTo(1)))
    assert len(found.ranking) == 500
    assert len(set(asked)) <= 12  # the first, the last, and 10 halvings


@pytest.mark.parametrize(("blocks", "trained"), [(12, 12), (3, 3), (1, 1), (0, 0), (20, 16)])
def test_of_a_chain_those_are_left_that_the_model_can_be_trained_in(blocks: int, trained: int) -> None:
    def refuses(strategy: Strategy) -> str | None:
        method = strategy.finetuning
        return f"{blocks} blocks" if isinstance(method, Freeze) and method.trained_blocks > blocks else None

    space = SPACE._replace(finetuning=(Finetuning.FREEZE,), trained_blocks=tuple(range(1, 17)))
    found = search(space, Solver(Toy(refuses=refuses), 10**6, UpTo(1)))
    assert [c.strategy.finetuning for c in found.ranking.first(99)] == [Freeze(n) for n in range(1, trained + 1)]
    assert found.num_strategies == trained
    assert found.rejected == ({f"{blocks} blocks": 16 - trained} if trained < 16 else {})


def test_strategies_that_cannot_run_are_counted_beside_those_that_do_not_fit() -> None:
    space = SPACE._replace(
        sharding=(Sharding.NO_SHARD, Sharding.FULL_SHARD),
        optimizer=(Optimizer.SGD, Optimizer.GALORE),
        lora_rank=(1, 64),
    )
    found = search(space, Solver(Toy(), 100, UpTo(1)))
    assert ranks_of(found) == [1]
    assert found.num_strategies == 2
    assert found.rejected == {
        "one GPU has nothing to shard over": 8,
        "galore is made for whole weights, not for adapters": 2,
        "does not fit into memory": 1,
    }


def test_a_space_is_refused_by_how_many_chains_would_be_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SPACE._replace(checkpointing=(Checkpointing.FULL,), checkpoint_every=tuple(range(1, 11)))
    solver = Solver(Toy(), 10**6, UpTo(1))
    monkeypatch.setattr(exhaustive, "MOST_SOLVED", 10)
    assert len(search(space, solver).ranking) == 70
    monkeypatch.setattr(exhaustive, "MOST_SOLVED", 9)
    for decide in (search, smallest):
        with pytest.raises(TooManyStrategiesError, match=r"70 strategies .* and 10 would be .* with 9 at most"):
            decide(space, solver)


def test_a_space_is_refused_by_how_many_combinations_would_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SPACE._replace(
        optimizer=(Optimizer.SGD, Optimizer.GALORE, Optimizer.APOLLO), optimizer_rank=(1, 2), lora_rank=(4, 8)
    )
    solver = Solver(Toy(), 10**6, UpTo(1))  # of 5 optimizers one runs
    monkeypatch.setattr(exhaustive, "MOST_SOLVED", 2)
    monkeypatch.setattr(exhaustive, "MOST_ASKED", 5)
    assert ranks_of(search(space, solver)) == [4, 8]
    monkeypatch.setattr(exhaustive, "MOST_ASKED", 4)
    with pytest.raises(TooManyStrategiesError, match=r"2 strategies .* and 5 would be .* with 4 at most"):
        search(space, solver)


def test_bounds_of_what_is_decided_are_half_a_minute_or_a_minute_of_work() -> None:
    assert (exhaustive.MOST_SOLVED, exhaustive.MOST_ASKED) == (25_000, 5_000_000)


def test_the_smallest_candidate_is_the_one_of_the_least_peak_whether_it_fits_or_not() -> None:
    space = SPACE._replace(checkpointing=(Checkpointing.NONE, Checkpointing.FULL), lora_rank=(4, 2))
    found = smallest(space, Solver(Toy(), 1, UpTo(8), (3, 2)))
    assert found is not None
    assert (found.strategy.finetuning, found.strategy.checkpointing.choice) == (Lora(2), Checkpointing.FULL)
    assert (found.micro_batch_size, found.gradient_accumulation_steps, found.process_bytes) == (2, 1, 30)
    assert smallest(space._replace(optimizer=(Optimizer.GALORE,)), Solver(Toy(), 1, UpTo(8))) is None


def test_of_equal_peaks_the_faster_is_the_smallest() -> None:
    def equal(strategy: Strategy, accumulates: bool) -> tuple[int, int]:
        return 10, 10

    space = SPACE._replace(checkpointing=(Checkpointing.FULL, Checkpointing.NONE), lora_rank=(1,))
    found = smallest(space, Solver(Toy(bytes_of=equal), 1, UpTo(8)))
    assert found is not None
    assert found.strategy.checkpointing.choice is Checkpointing.NONE


def test_a_batch_that_is_wanted_bounds_chains_as_well() -> None:
    found = search(SPACE, Solver(Toy(), 10 * 8 + 10 * 6, Exactly(6)))
    assert ranks_of(found) == [1, 2, 4, 8]
    assert {c.global_batch_size for c in found.ranking.first(9)} == {6}


def test_the_time_of_a_search_is_from_its_beginning_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 107.5))
    monkeypatch.setattr(exhaustive.time, "perf_counter", lambda: next(clock))
    assert search(SPACE, Solver(Toy(), 10**6, UpTo(1))).seconds == 7.5

"""What a sampler is told of a strategy: its batch and speed, what it lacks, and which others it beats."""

from __future__ import annotations

from typing import Any

import pytest
from toy import LORA, RECOMPUTED, Toy

from hardware import GIB
from planner.search import Candidate, Order, Solver
from planner.search.pareto import pareto
from planner.search.studies.objectives import missing_gib, objective_of, objectives, readable
from planner.search.studies.suggest import FILLING, Suggestion
from planner.search.studies.trials import TrialRunner, attributes, front
from strategies import (
    Accumulation,
    Chain,
    Checkpointing,
    Exactly,
    Finetuning,
    Objective,
    Optimizer,
    Precision,
    Space,
    UpTo,
)

SOLVER = Solver(Toy(), 100, UpTo(4))
SPACE = Space.default(Toy().cluster)._replace(
    precision=(Precision.FP32,), optimizer=(Optimizer.SGD,), finetuning=(Finetuning.LORA,), lora_rank=(1,)
)


def candidate(batch: int, seconds: float, process_bytes: int = 0) -> Candidate:
    return SOLVER.candidate(LORA, 1, 1)._replace(global_batch_size=batch, seconds=seconds, process_bytes=process_bytes)


def test_the_batch_is_maximized_and_the_speed_where_the_batch_is_given() -> None:
    assert objective_of(SOLVER) == "effective batch"
    assert objective_of(Solver(Toy(), 100, Exactly(8))) == "tokens per second"


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ("batch", "effective batch"),
        ("throughput", "tokens per second"),
        ("cost", "tokens per second"),
        ("memory", "headroom"),
    ],
)
def test_what_is_maximized_follows_the_objective(objective: str, name: str) -> None:
    assert objective_of(Solver(Toy(), 100, UpTo(4), order=Order(Objective(objective)))) == name


def test_values_of_a_study_have_as_many_digits_as_one_reads() -> None:
    exact = {"effective batch": 272.0, "tokens per second": 3240.988147, "headroom": -0.123456}
    assert readable(exact) == {"effective batch": 272.0, "tokens per second": 3241.0, "headroom": -0.12}
    assert readable({"tokens per second": 1.23456, "headroom": 123.456}) == {
        "tokens per second": 1.23,
        "headroom": 123.46,
    }


def test_what_is_missing_is_what_a_process_takes_beyond_the_budget() -> None:
    solver = Solver(Toy(), 3 * GIB, UpTo(1))
    assert missing_gib(candidate(1, 1.0, 5 * GIB), solver) == 2.0
    assert missing_gib(candidate(1, 1.0, 2 * GIB), solver) == -1.0


def test_objectives_are_batch_speed_in_real_tokens_and_headroom() -> None:
    solver = Solver(Toy(real_tokens=30), 3 * GIB, UpTo(1))
    assert objectives(candidate(8, 2.0, 2 * GIB), solver) == {
        "effective batch": 8,
        "tokens per second": 8 * 30 / 2,
        "headroom": 1.0,
    }


def test_a_front_has_all_that_no_other_beats_everywhere() -> None:
    best = candidate(8, 1.0, 50)
    slower, larger_batch = candidate(8, 2.0, 50), candidate(16, 4.0, 60)
    more_room, worse_in_all = candidate(4, 2.0, 40), candidate(4, 3.0, 60)
    found = front([slower, best, larger_batch, worse_in_all, more_room])
    assert found == [larger_batch, best, more_room]
    assert front([]) == []
    assert front([worse_in_all]) == [worse_in_all]


def test_a_front_has_no_more_risks_than_necessary() -> None:
    risky = candidate(64, 1.0, 10)
    order = Order(risks=lambda strategy: int(strategy.checkpointing.recomputes))
    others = [candidate(8, 1.0, 50)._replace(strategy=RECOMPUTED, order=order), risky._replace(order=order)]
    assert front(others) == others[1:]
    assert front(others[:1]) == others[:1]


def trial_of(solver: Solver, fills: bool = False, **params: Any) -> Any:
    return TrialRunner(SPACE, solver, fills=fills).of(Suggestion({"checkpointing": "none", **params}))


def test_a_strategy_that_fits_is_its_best_candidate() -> None:
    trial = trial_of(SOLVER)
    assert trial.candidate == SOLVER.solve(trial.strategy)
    assert (trial.reason, trial.missing_gib) == (None, (95 - 100) / GIB)
    assert attributes(trial, SOLVER) == {
        "fits": True,
        "effective batch": 32,
        "micro-batch": 8,
        "accumulation": 4,
        "GiB": 0.0,
        "tokens per second": round(32 * 100 / 36, 2),
    }


def test_a_strategy_that_does_not_fit_lacks_what_one_sample_takes_too_much() -> None:
    trial = trial_of(Solver(Toy(), 15, UpTo(4)))
    assert (trial.candidate, trial.reason, trial.missing_gib) == (None, None, (20 - 15) / GIB)
    assert attributes(trial, SOLVER) == {"fits": False, "reason": "does not fit into memory"}
    assert trial_of(Solver(Toy(), 15, UpTo(4), (4, 2))).missing_gib == (30 - 15) / GIB
    assert attributes(trial._replace(reason="not here"), SOLVER)["reason"] == "not here"


def test_a_strategy_that_fits_and_cannot_make_the_batch_still_breaks_the_constraint() -> None:
    trial = trial_of(Solver(Toy(), 10**6, Exactly(12), (5,)))
    assert (trial.candidate, trial.missing_gib) == (None, 1 / GIB)


@pytest.mark.parametrize("accumulation", [UpTo(4), UpTo(1), Exactly(12)])
@pytest.mark.parametrize("allowed", [(), (1, 2, 3, 6, 64)])
def test_a_trial_that_fills_takes_a_place_on_the_strategys_own_front(
    accumulation: Accumulation, allowed: tuple[int, ...]
) -> None:
    solver = Solver(Toy(), 100, accumulation, allowed)
    strategy = trial_of(solver).strategy
    own = pareto([Chain(strategy)], solver)
    assert len(own) > 1 or isinstance(accumulation, Exactly)
    for place, expected in enumerate(reversed(own)):
        trial = trial_of(solver, True, **{FILLING: place / max(1, len(own) - 1)})
        assert trial.candidate == expected
        assert trial.missing_gib == (expected.process_bytes - 100) / GIB


def test_a_runner_counts_each_strategy_once_and_reuses_what_another_has_solved() -> None:
    asked: list[str] = []

    def refuses(strategy: Any) -> None:
        asked.append(strategy.checkpointing.choice)

    solver = Solver(Toy(refuses=refuses), 100, UpTo(4))
    first = TrialRunner(SPACE, solver, fills=False)
    for name in ("none", "full", "none"):
        first.of(Suggestion({"checkpointing": name}))
    assert asked == [Checkpointing.NONE, Checkpointing.FULL]
    assert first.num_strategies == len(first.candidates) == 2
    again = TrialRunner(SPACE, solver, fills=False, known=first)
    assert (again.num_strategies, again.candidates) == (0, [])
    again.of(Suggestion({"checkpointing": "full"}))
    assert len(asked) == 2
    assert (again.num_strategies, [c.strategy for c in again.candidates]) == (
        1,
        [RECOMPUTED._replace(allocator=again.candidates[0].strategy.allocator)],
    )


def test_a_runner_that_fills_has_a_candidate_for_every_size() -> None:
    runner = TrialRunner(SPACE, SOLVER, fills=True)
    for share in (1.0, 0.5, 0.51, 0.0):
        runner.of(Suggestion({"checkpointing": "none", FILLING: share}))
    own = pareto([Chain(LORA._replace(allocator=runner.candidates[0].strategy.allocator))], SOLVER)
    assert [runner.candidates[0], runner.candidates[-1]] == [own[0], own[-1]]
    assert 2 < len(runner.candidates) <= 4
    assert (runner.num_strategies, runner.rejected) == (1, {})


def test_strategies_without_a_candidate_are_counted_by_reason() -> None:
    def refuses(strategy: Any) -> str | None:
        return "never recomputed" if strategy.checkpointing.recomputes else None

    runner = TrialRunner(SPACE, Solver(Toy(refuses=refuses), 15, UpTo(4)), fills=False)
    for name in ("none", "full"):
        runner.of(Suggestion({"checkpointing": name}))
    assert runner.rejected == {"never recomputed": 1, "does not fit into memory": 1}
    assert runner.candidates == []

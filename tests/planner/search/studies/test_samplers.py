"""Samplers draw what seed and number of a trial say, and the one that tries all proposes each strategy once."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from toy import A100, Toy

from planner.search import EngineError
from planner.search.studies import samplers
from planner.search.studies.samplers import EveryStrategy, SeededByTrial, sampler_of
from planner.search.studies.suggest import Suggestion
from strategies import Checkpointing, Finetuning, Optimizer, Precision, Sampler, Space, Strategy

SPACE = Space.default(Toy().cluster)._replace(
    precision=(Precision.FP32, Precision.TF32),
    optimizer=(Optimizer.SGD,),
    finetuning=(Finetuning.LORA,),
    lora_rank=(1, 2, 3, 4),
    checkpointing=(Checkpointing.NONE, Checkpointing.FULL),
)
NUMBER = 16


def study_of(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    return optuna.create_study(sampler=sampler, direction="maximize")


def drawn(study: optuna.Study, number: int, value: float | None = 1.0) -> list[Strategy]:
    """Of so many further trials, which are completed if a value is given."""
    found = []
    for _ in range(number):
        trial = study.ask()
        found.append(Suggestion(trial).strategy(SPACE, A100))
        if value is not None:
            study.tell(trial, value)
    return found


needs_gp = pytest.mark.skipif(find_spec("torch") is None, reason="the Gaussian process needs torch")


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.RANDOM])
def test_a_study_that_is_resumed_draws_what_it_would_have_drawn(sampler: Sampler) -> None:
    at_once = drawn(study_of(sampler_of(sampler, 3, SPACE, A100)), 14)
    study = study_of(sampler_of(sampler, 3, SPACE, A100))
    resumed = drawn(study, 9)
    study.sampler = sampler_of(sampler, 3, SPACE, A100)
    assert resumed + drawn(study, 5) == at_once


def test_seeds_and_trials_draw_different_strategies() -> None:
    draws = [tuple(drawn(study_of(sampler_of(Sampler.RANDOM, seed, SPACE, A100)), 10)) for seed in range(4)]
    assert len(set(draws)) == 4
    assert all(len(set(strategies)) > 3 for strategies in draws)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (Sampler.TPE, optuna.samplers.TPESampler),
        (Sampler.NSGA2, optuna.samplers.NSGAIISampler),
        (Sampler.RANDOM, optuna.samplers.RandomSampler),
        pytest.param(Sampler.GP, optuna.samplers.GPSampler, marks=needs_gp),
    ],
)
def test_each_name_is_the_sampler_of_optuna_that_it_says(name: Sampler, kind: type) -> None:
    sampler = sampler_of(name, 0, SPACE, A100)
    assert isinstance(sampler, SeededByTrial)
    assert isinstance(sampler._of_trial, kind)
    assert isinstance(sampler_of(Sampler.BRUTE_FORCE, 0, SPACE, A100), EveryStrategy)


class Forgetful(optuna.samplers.RandomSampler):
    """Remembers something of the study."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.seed, self._search_space = seed, "unknown"


def test_what_a_sampler_has_found_out_of_the_study_is_handed_on() -> None:
    seeds: list[int] = []

    def make(seed: int) -> Forgetful:
        seeds.append(seed)
        return Forgetful(seed)

    sampler = SeededByTrial(make, 5)
    study = study_of(sampler)
    sampler._of_trial._search_space = "known"  # type: ignore[attr-defined]  # of Forgetful
    drawn(study, 3)
    assert sampler._of_trial._search_space == "known"  # type: ignore[attr-defined]
    assert seeds[0] == 5
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert max(seeds) >= 2**24  # of 32 bits


@pytest.mark.parametrize("seed", [0, 1])
def test_every_strategy_is_proposed_once(seed: int) -> None:
    study = study_of(EveryStrategy(SPACE, A100, seed))
    found = drawn(study, NUMBER)
    assert len(set(found)) == NUMBER
    assert set(found) == set(SPACE.strategies(A100))
    assert study.sampler.num_left(study.get_trials()) == 0  # type: ignore[attr-defined]


def test_the_order_is_that_of_the_seed() -> None:
    orders = [drawn(study_of(EveryStrategy(SPACE, A100, seed)), NUMBER) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != list(SPACE.strategies(A100))


def test_what_others_try_just_now_is_not_proposed_again_and_what_failed_is() -> None:
    study = study_of(EveryStrategy(SPACE, A100, 0))
    running = drawn(study, 5, value=None)
    found = drawn(study, NUMBER - 5)
    assert len({*running, *found}) == NUMBER
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    assert set(drawn(study, 5)) == set(running)


def test_trials_that_do_not_see_each_other_propose_different_strategies() -> None:
    sampler = EveryStrategy(SPACE, A100, 0)
    study = study_of(sampler)
    proposed = []
    for number in range(2 * NUMBER):
        trial: Any = FrozenTrial(number, TrialState.RUNNING, None, None, None, {}, {}, {}, {}, {}, number)
        sampler.infer_relative_search_space(study, trial)
        proposed.append(sampler.sample_relative(study, trial, {}))
    assert proposed[:NUMBER] == proposed[NUMBER:]
    assert len({tuple(params.items()) for params in proposed}) == NUMBER


def test_what_is_left_is_what_no_completed_trial_has_tried() -> None:
    sampler = EveryStrategy(SPACE, A100, 0)
    study = study_of(sampler)
    drawn(study, 3)
    completed = study.get_trials(states=(TrialState.COMPLETE,))
    assert [sampler.num_left(completed[:n]) for n in range(4)] == [16, 15, 14, 13]
    assert sampler.num_left([completed[0], completed[0]]) == 15


def test_a_parameter_that_was_not_proposed_is_drawn_by_the_number_of_the_trial() -> None:
    sampler = EveryStrategy(SPACE, A100, 0)
    study = study_of(sampler)
    distribution = optuna.distributions.IntDistribution(0, 10**6)
    trial: Any = FrozenTrial(7, TrialState.RUNNING, None, None, None, {}, {}, {}, {}, {}, 7)
    first = sampler.sample_independent(study, trial, "x", distribution)
    assert first == sampler.sample_independent(study, trial, "y", distribution)
    trial.number = 8
    assert first != sampler.sample_independent(study, trial, "x", distribution)


def test_a_space_with_too_many_strategies_is_not_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert samplers.MOST_COMBINATIONS == 100_000
    monkeypatch.setattr(samplers, "MOST_COMBINATIONS", NUMBER)
    assert len(drawn(study_of(EveryStrategy(SPACE, A100, 0)), NUMBER)) == NUMBER
    monkeypatch.setattr(samplers, "MOST_COMBINATIONS", NUMBER - 1)
    with pytest.raises(EngineError, match="would try more than 15 strategies") as refused:
        sampler_of(Sampler.BRUTE_FORCE, 0, SPACE, A100)
    assert refused.value.hint == "--sampler tpe, or --engine exhaustive, which decides them without trials"


@pytest.mark.parametrize("package", ["scipy", "torch"])
def test_a_package_that_the_gaussian_process_lacks_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=f"sampler gp needs .*{package}") as refused:
        sampler_of(Sampler.GP, 0, SPACE, A100)
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("pip install")

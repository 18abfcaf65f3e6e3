"""What a study in a database keeps: trials of samplers, candidates of the exhaustive engine, each once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from toy import A100, Toy

from planner.progress import Advance
from planner.search import EngineError, EngineSettings, Found, Solver, search
from planner.search.pareto import pareto
from planner.search.studies import bulk, study
from planner.search.studies.objectives import missing_gib, objectives, readable
from planner.search.studies.storage import open_storage
from planner.search.studies.trials import attributes
from strategies import Checkpointing, Engine, Exactly, Finetuning, Optimizer, Precision, Sampler, Space, UpTo

SPACE = Space.default(Toy().cluster)._replace(
    precision=(Precision.FP32,),
    optimizer=(Optimizer.SGD,),
    finetuning=(Finetuning.LORA,),
    lora_rank=(1, 2, 4, 8, 1_000),
    checkpointing=(Checkpointing.NONE, Checkpointing.FULL),
)
SOLVER = Solver(Toy(), 1_000, UpTo(4))
FITTING = 8


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def sampling(url: str | None, **given: Any) -> EngineSettings:
    return EngineSettings(Engine.OPTUNA, storage=url, **{"sampler": Sampler.RANDOM, **given})


def kept(url: str, name: str = "planner") -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=url).get_trials()


def write(url: str, found: Found, **given: Any) -> list[str]:
    said: list[str] = []
    study.write(SPACE, SOLVER, found, EngineSettings(storage=url, **given), said.append)
    return said


def test_candidates_of_the_exhaustive_engine_are_trials_of_their_strategies(url: str) -> None:
    found = search(SPACE, SOLVER)
    assert write(url, found) == [f"writing {FITTING} candidates to the study"]
    trials, candidates = kept(url), found.ranking.first(99)
    assert [trial.number for trial in trials] == list(range(FITTING))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    for trial, candidate in zip(trials, candidates, strict=True):
        method = candidate.strategy.finetuning
        assert trial.params == {
            "lora_rank": method.rank,  # type: ignore[union-attr]  # all are LoRAs
            "checkpointing": candidate.strategy.checkpointing.choice,
        }
        assert trial.distributions == {
            "lora_rank": CategoricalDistribution((1, 2, 4, 8, 1_000)),
            "checkpointing": CategoricalDistribution(("none", "full")),
        }
        assert trial.values == [candidate.global_batch_size]
        assert trial.user_attrs["effective batch"] == candidate.global_batch_size
        assert trial.user_attrs == attributes(study.Trial(candidate.strategy, candidate, None, 0.0), SOLVER)
        assert trial.constraints == {"GiB missing": missing_gib(candidate, SOLVER)}
        assert trial.datetime_complete is not None


def test_candidates_are_written_once(url: str) -> None:
    found = search(SPACE, SOLVER)
    write(url, found)
    write(url, found)
    assert len(kept(url)) == FITTING


def test_the_best_candidates_are_written_and_no_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study.MOST_WRITTEN == 5_000
    monkeypatch.setattr(study, "MOST_WRITTEN", 3)
    found = search(SPACE, SOLVER)
    write(url, found)
    assert [trial.value for trial in kept(url)] == [candidate.global_batch_size for candidate in found.ranking.first(3)]


def test_studies_of_other_names_are_apart(url: str) -> None:
    found = search(SPACE, SOLVER)
    write(url, found)
    write(url, found, study="another")
    assert [len(kept(url, name)) for name in ("planner", "another")] == [FITTING, FITTING]
    assert kept(url, "another")[0].number == 0


def test_what_a_sampler_has_tried_is_not_written_again_and_numbers_go_on(url: str) -> None:
    study.search(SPACE, SOLVER, sampling(url, trials=6))
    before = kept(url)
    tried = {tuple(trial.params.values()) for trial in before if trial.user_attrs["fits"]}
    write(url, search(SPACE, SOLVER))
    after = kept(url)
    assert len(after) == 6 + FITTING - len(tried)
    assert [trial.number for trial in after] == list(range(len(after)))
    assert [trial.params for trial in after[:6]] == [trial.params for trial in before]


def test_a_failed_trial_does_not_keep_its_candidate_from_being_written(url: str) -> None:
    with open_storage(url) as storage:
        made = optuna.create_study(storage=storage, study_name="planner", direction="maximize")
        trial = made.ask({"x": IntDistribution(0, 1)})
        made.tell(trial, state=TrialState.FAIL)
        again = optuna.create_trial(params=trial.params, distributions=trial.distributions, value=1.0)
        assert storage is not None
        assert bulk.add_missing(storage, "planner", [again], print) == 1
        assert bulk.add_missing(storage, "planner", [again], print) == 0
    assert [trial.state for trial in kept(url)] == [TrialState.FAIL, TrialState.COMPLETE]


def test_progress_is_told_after_so_many_trials_and_all_are_written(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bulk.TOLD == 500
    monkeypatch.setattr(bulk, "TOLD", 3)
    said = write(url, search(SPACE, SOLVER))
    assert said == ["writing 8 candidates to the study", "3 are written", "6 are written"]
    trials = kept(url)
    assert len(trials) == len({tuple(trial.params.values()) for trial in trials}) == FITTING
    assert all(trial.user_attrs["fits"] and trial.values for trial in trials)


def test_trials_of_a_front_have_three_values(url: str) -> None:
    study.search(SPACE, SOLVER, sampling(url, sampler=Sampler.NSGA2, trials=12))
    made = optuna.load_study(study_name="planner", storage=url)
    assert made.metric_names == ["effective batch", "tokens per second", "headroom"]
    assert [direction.name for direction in made.directions] == ["MAXIMIZE"] * 3
    for trial in made.get_trials():
        free = round(-trial.constraints["GiB missing"], 2)
        if trial.user_attrs["fits"]:
            assert trial.values == [trial.user_attrs["effective batch"], trial.user_attrs["tokens per second"], free]
            assert free >= 0
        else:
            assert trial.values == [0.0, 0.0, free]


def test_a_trial_of_one_value_has_its_batch_or_nothing(url: str) -> None:
    study.search(SPACE, SOLVER, sampling(url, sampler=Sampler.BRUTE_FORCE))
    made = optuna.load_study(study_name="planner", storage=url)
    assert made.metric_names == ["effective batch"]
    fitting = {tuple(trial.params.values()): trial.value for trial in made.get_trials() if trial.user_attrs["fits"]}
    found = search(SPACE, SOLVER).ranking.first(99)
    assert sorted(fitting.values()) == sorted(float(candidate.global_batch_size) for candidate in found)
    others = [trial for trial in made.get_trials() if not trial.user_attrs["fits"]]
    assert [(trial.value, trial.user_attrs["reason"]) for trial in others] == [(0.0, "does not fit into memory")] * 2
    assert all(trial.constraints["GiB missing"] > 0 for trial in others)


def test_a_study_of_other_objectives_is_refused(url: str) -> None:
    study.search(SPACE, SOLVER, sampling(url, trials=1))
    with pytest.raises(EngineError, match="study 'planner' was made for other objectives") as refused:
        study.search(SPACE, SOLVER, sampling(url, sampler=Sampler.NSGA2, trials=1))
    assert refused.value.hint == "give another --storage"


def test_no_more_strategies_are_wanted_than_there_are() -> None:
    found = study.search(SPACE, SOLVER, sampling(None, sampler=Sampler.BRUTE_FORCE, trials=200))
    assert (found.num_trials, found.num_strategies, len(found.ranking)) == (10, 10, FITTING)
    few = study.search(SPACE, SOLVER, sampling(None, sampler=Sampler.BRUTE_FORCE, trials=4))
    assert (few.num_trials, few.num_strategies) == (4, 4)
    assert study.search(SPACE, SOLVER, sampling(None, trials=30)).num_trials == 30


def test_after_the_time_is_over_there_is_what_was_found() -> None:
    found = study.search(SPACE, SOLVER, sampling(None, timeout_seconds=1e-9))
    assert (found.num_trials, len(found.ranking), found.rejected) == (0, 0, {})
    assert study.search(SPACE, SOLVER, sampling(None, trials=3, timeout_seconds=600)).num_trials == 3


def test_the_answer_of_a_front_is_what_no_other_beats() -> None:
    found = study.search(SPACE, SOLVER, sampling(None, sampler=Sampler.NSGA2, trials=40))
    points = [tuple(objectives(candidate, SOLVER).values()) for candidate in found.ranking.first(99)]
    assert len(points) > 1
    for a in points:
        assert not any(a != b and all(x >= y for x, y in zip(b, a, strict=True)) for b in points)


@pytest.mark.parametrize(
    "solver", [Solver(Toy(), 60, UpTo(4)), Solver(Toy(), 70, UpTo(2)), Solver(Toy(), 999, Exactly(8))]
)
def test_the_front_of_enough_trials_is_that_of_the_exhaustive_engine(solver: Solver) -> None:
    space = SPACE._replace(lora_rank=(1, 8))
    found = study.search(space, solver, sampling(None, sampler=Sampler.NSGA2, trials=600))
    exact = pareto(search(space, solver).chains, solver)
    assert len(exact) > 2
    assert found.ranking.first(999) == sorted(exact, key=lambda candidate: candidate.rank)


def test_progress_is_told_after_a_second_and_says_how_far_the_study_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(study.time, "monotonic", lambda: next(clock) * 0.5)  # half a second for every look at it
    said: list[str] = []
    study.search(SPACE._replace(lora_rank=(1,)), SOLVER, sampling(None, trials=4), said.append)
    told = [(line.done, line.total) for line in said if isinstance(line, Advance)]
    assert told == [(2, 4), (3, 4), (4, 4), (0, 0)]
    best = search(SPACE._replace(lora_rank=(1,)), SOLVER).ranking.first(1)[0]
    speed = readable(objectives(best, SOLVER))["tokens per second"]
    assert said[-2] == f"trial 4 of 4, best: batch {best.global_batch_size:,}, {speed:,.0f} tokens/s"


def test_a_short_study_tells_nothing() -> None:
    said: list[str] = []
    study.search(SPACE, SOLVER, sampling(None, trials=3), said.append)
    assert said == []


def test_a_study_says_what_it_is_about(url: str) -> None:
    about = {"model": "toy", "budget GiB": 37.5, "space": {"lora_rank": "1, 2"}}
    for _ in range(2):
        study.search(SPACE, SOLVER, sampling(url, trials=2, about=about))
    assert optuna.load_study(study_name="planner", storage=url).user_attrs == about


def test_where_the_batch_is_given_a_study_maximizes_the_speed(url: str) -> None:
    solver = Solver(Toy(), 1_000, Exactly(8))
    study.search(SPACE, solver, sampling(url, sampler=Sampler.BRUTE_FORCE))
    made = optuna.load_study(study_name="planner", storage=url)
    assert made.metric_names == ["tokens per second"]
    best = search(SPACE, solver).ranking.first(1)[0]
    assert made.best_value == readable(objectives(best, solver))["tokens per second"]
    assert {trial.user_attrs["effective batch"] for trial in made.trials if trial.user_attrs["fits"]} == {8}


@pytest.mark.parametrize("place", [0, 2])
def test_a_study_ends_when_a_candidate_of_a_rank_is_found(place: int) -> None:
    wanted = search(SPACE, SOLVER).ranking.first(3)[place].rank
    settings = sampling(None, sampler=Sampler.BRUTE_FORCE, seed=4)
    number = study.trials_until(SPACE, SOLVER, settings, wanted)
    assert number is not None
    assert 1 <= number <= 10
    reached = study.search(SPACE, SOLVER, settings._replace(trials=number)).ranking.first(1)
    before = study.search(SPACE, SOLVER, settings._replace(trials=number - 1)).ranking.first(1) if number > 1 else []
    assert [candidate.rank <= wanted for candidate in reached] == [True]
    assert not any(candidate.rank <= wanted for candidate in before)
    assert study.trials_until(SPACE, SOLVER, settings, (-(10**9), *wanted[1:])) is None


def test_sizes_that_cannot_divide_the_cluster_are_not_sampled() -> None:
    assert study.search(SPACE._replace(reshard_size=(3, 5)), SOLVER, sampling(None, trials=2)).num_trials == 2
    assert SOLVER.cluster.gpu == A100


def test_the_time_of_a_search_is_from_its_beginning_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 107.5))
    monkeypatch.setattr(study.time, "perf_counter", lambda: next(clock))
    assert study.search(SPACE, SOLVER, sampling(None, trials=2)).seconds == 7.5


def test_where_nothing_fits_yet_progress_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(study.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    study.search(SPACE, Solver(Toy(), 1, UpTo(4)), sampling(None, trials=1), said.append)
    assert said == ["trial 1 of 1, nothing fits yet", "all trials are done"]


def test_optunas_log_and_the_warnings_are_afterwards_as_they_were() -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    before = list(warnings.filters)
    for _ in range(2):
        study.search(SPACE, SOLVER, sampling(None, trials=1))
        assert (optuna.logging.get_verbosity(), warnings.filters) == (optuna.logging.INFO, before)

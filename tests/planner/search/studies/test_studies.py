"""The engine that samples: what it finds, what it keeps, and how it goes on."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from planner import PlannerError, SearchSpace, fit
from strategies import Checkpointing, Sampler

QUESTION: dict[str, Any] = {"model": "llama-2-7b", "gpu": "A100-40GB", "sequence_length": 1024}
SINGLE = [s.value for s in Sampler if not s.facts.is_multi_objective and s is not Sampler.GP]


def storage(path: Path) -> str:
    return f"sqlite:///{path / 'study.db'}"


def only_study(url: str) -> optuna.Study:
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url)


def finished_trials(url: str) -> int:
    """Of a study that another process makes just now."""
    try:
        return len(only_study(url).get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    except Exception:  # no file, no tables or no study yet
        return 0


@pytest.mark.parametrize("sampler", SINGLE)
def test_a_sampler_finds_the_exhaustive_optimum_of_the_default_space(sampler: str) -> None:
    sampled = fit(**QUESTION, engine="optuna", sampler=sampler, trials=100)
    assert sampled.plans[0] == fit(**QUESTION).plans[0]
    assert sampled.searched.sampler == sampler
    assert sampled.searched.trials is not None
    assert sampled.searched.trials <= 100


def test_the_gaussian_process_proposes_plans_that_fit() -> None:
    pytest.importorskip("torch")
    found = fit(**QUESTION, engine="optuna", sampler="gp", trials=12, finetuning="lora")
    assert found.plans == fit(**QUESTION, finetuning="lora").plans


def test_trying_every_combination_once_finds_what_the_exhaustive_engine_finds() -> None:
    tried, exhaustive = fit(**QUESTION, engine="optuna", sampler="brute-force"), fit(**QUESTION)
    assert tried.plans == exhaustive.plans
    assert tried.rejected == exhaustive.rejected
    assert tried.searched.strategies == tried.searched.trials == exhaustive.searched.strategies


def test_trials_are_the_same_for_the_same_seed_and_others_for_another(tmp_path: Path) -> None:
    params = []
    for i, seed in enumerate((7, 7, 8)):
        folder = tmp_path / str(i)
        folder.mkdir()
        fit(**QUESTION, engine="optuna", trials=25, seed=seed, storage=storage(folder))
        params.append([trial.params for trial in only_study(storage(folder)).trials])
    assert params[0] == params[1] != params[2]


def test_no_plan_of_a_front_beats_another() -> None:
    plans = fit(**QUESTION, engine="optuna", sampler="nsga2", trials=120, top=100).plans
    points = [(p.global_batch_size, p.time.tokens_per_second, -p.memory.process_bytes) for p in plans]
    assert len(points) > 3
    assert not [(a, b) for a in points for b in points if a != b and all(x >= y for x, y in zip(a, b, strict=True))]


def test_a_trial_has_only_parameters_that_belong_to_its_choices(tmp_path: Path) -> None:
    space = SearchSpace(lora_rank=[4, 8, 16], quantization="all")
    fit(**QUESTION, space=space, engine="optuna", trials=40, storage=storage(tmp_path))
    trials = only_study(storage(tmp_path)).trials
    assert {t.params["finetuning"] for t in trials} == {"full", "lora", "qlora"}
    for trial in trials:
        assert ("lora_rank" in trial.params) == (trial.params["finetuning"] != "full")
        assert ("quantization" in trial.params) == (trial.params["finetuning"] == "qlora")


def test_what_does_not_fit_breaks_a_constraint_by_what_is_missing(tmp_path: Path) -> None:
    fit(**QUESTION, engine="optuna", sampler="brute-force", storage=storage(tmp_path))
    trials = only_study(storage(tmp_path)).trials
    for trial in trials:
        assert (trial.constraints["GiB missing"] <= 0) == trial.user_attrs["fits"]
    assert {trial.user_attrs["fits"] for trial in trials} == {True, False}


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    url = storage(tmp_path)
    first = fit(**QUESTION, engine="optuna", trials=10, storage=url)
    second = fit(**QUESTION, engine="optuna", trials=40, storage=url)
    assert (first.searched.trials, second.searched.trials) == (10, 40)
    assert len(only_study(url).trials) == 40
    assert second.searched.strategies >= first.searched.strategies
    assert fit(**QUESTION, engine="optuna", trials=40, storage=url).plans == second.plans


def test_a_study_that_was_killed_goes_on(tmp_path: Path) -> None:
    url, command = (
        storage(tmp_path),
        [sys.executable, "-m", "planner", "fit", QUESTION["model"], "--gpu", QUESTION["gpu"]],
    )
    command += ["--sequence-length", "1024", "--engine", "optuna", "--trials", "100000", "--storage", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and finished_trials(url) < 3:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(only_study(url).trials)
    assert kept > 0
    result = fit(**QUESTION, engine="optuna", trials=kept + 20, storage=url)
    assert result.searched.trials == kept + 20
    assert not [t for t in only_study(url).trials if t.state is optuna.trial.TrialState.RUNNING]


def test_exhaustive_candidates_become_finished_trials(tmp_path: Path) -> None:
    url = storage(tmp_path)
    for _ in range(2):
        result = fit(**QUESTION, storage=url)
    study = only_study(url)
    assert len(study.trials) == result.searched.feasible
    best = study.best_trial
    assert best.user_attrs["effective batch"] == result.plans[0].global_batch_size
    assert best.params["checkpointing"] == Checkpointing.FULL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "grid"}, "unknown engine 'grid'"),
        ({"engine": "optuna", "sampler": "tpee"}, "unknown sampler 'tpee'"),
        ({"engine": "optuna", "trials": 0}, "trials is 0"),
        ({"engine": "optuna", "timeout": -1}, "timeout is -1"),
        ({"trials": 5}, "trials is given, but exhaustive samples nothing"),
        ({"engine": "optuna", "storage": "nowhere://x"}, "storage 'nowhere://x' cannot be used"),
        (
            {"engine": "optuna", "storage": "sqlite:////nowhere/x.db"},
            "storage 'sqlite:////nowhere/x.db' cannot be used",
        ),
    ],
)
def test_an_engine_that_cannot_run_says_why(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError) as refused:
        fit(**QUESTION, **arguments)
    assert message in refused.value.message
    assert refused.value.hint

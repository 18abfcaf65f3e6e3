"""Studies that many processes work on, are killed in, and that run into the walls of their database."""

from __future__ import annotations

import json
import random
import resource
import sqlite3
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from kills import CANDIDATES, SECONDS, command, finished, kill_writers, start, trials_of
from optuna.trial import TrialState

from planner import FitResult, PlannerError, fit
from planner.search.studies import shared, storage, study

TRIALS = 25
OPTUNA = ("--engine", "optuna", "--trials", str(TRIALS))
QUESTION: dict[str, Any] = {"model": "gpt2", "gpu": "T4", "engine": "optuna", "sampler": "random"}


def ended(process: subprocess.Popen[bytes]) -> Any:
    """The answer of a process, which has to be one."""
    out, error = process.communicate(timeout=SECONDS)
    assert (process.returncode, error) == (0, b"")
    return json.loads(out)


# --- many at once ---


@pytest.mark.parametrize(
    ("url", "sampler"),
    [("sqlite", "random"), ("sqlite", "brute-force"), ("postgresql", "tpe"), ("postgresql", "nsga2")],
    indirect=["url"],
)
def test_two_processes_complete_a_study_together(url: str, sampler: str) -> None:
    running = [start(url, *OPTUNA, "--sampler", sampler) for _ in range(2)]
    first, second = map(ended, running)
    assert first["searched"]["trials"] == second["searched"]["trials"] == len(finished(url)) == TRIALS
    assert first["plans"] == second["plans"]


def test_eight_processes_on_a_database_that_is_not_there_yet(url: str) -> None:
    answers = [ended(process) for process in [start(url, *OPTUNA, "--sampler", "random") for _ in range(8)]]
    assert {answer["searched"]["trials"] for answer in answers} == {TRIALS}
    assert len({json.dumps(answer["plans"]) for answer in answers}) == 1
    numbers = [trial.number for trial in trials_of(url)]
    assert sorted(numbers) == list(range(len(numbers)))


def test_four_processes_write_the_exhaustive_candidates_once(url: str) -> None:
    answers = [ended(process) for process in [start(url) for _ in range(4)]]
    assert {answer["searched"]["feasible"] for answer in answers} == {CANDIDATES}
    assert len(finished(url)) == len({params for _, params, _ in finished(url).values()}) == CANDIDATES


def test_threads_of_one_process_complete_a_study_together(tmp_path: Path) -> None:
    found: list[int | None] = []
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def one() -> None:
        found.append(fit(**QUESTION, trials=20, storage=url).searched.trials)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == [20, 20, 20]
    assert len(finished(url)) == 20


# --- deaths ---


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sqlite", ("tpe", 60)),
        ("sqlite", (None, CANDIDATES)),
        ("postgresql", ("brute-force", 60)),
        ("postgresql", (None, CANDIDATES)),
    ],
    ids=str,
    indirect=["url"],
)
def test_a_study_survives_kills_at_random_moments(url: str, options: tuple[str | None, int]) -> None:
    sampler, trials = options
    asked = ["--engine", "optuna", "--trials", str(trials), "--sampler", sampler] if sampler else []
    outcome = kill_writers(url, asked, trials, kills=4, rng=random.Random(7))
    assert outcome.wrong == []
    assert (outcome.completed, outcome.codes, len(outcome.plans)) == (trials, [0, 0], 1)


def test_a_trial_whose_process_died_runs_again(url: str) -> None:
    fit(**QUESTION, trials=2, storage=url)
    (name,) = optuna.get_all_study_names(url)
    dead = optuna.load_study(study_name=name, storage=url).ask()
    dead.suggest_categorical("finetuning", ["full", "lora", "qlora"])
    assert fit(**QUESTION, trials=5, storage=url).searched.trials == 5
    states = {trial.number: trial.state for trial in trials_of(url)}
    assert states.pop(dead.number) is TrialState.FAIL
    assert set(states.values()) == {TrialState.COMPLETE}
    (again,) = [trial for trial in trials_of(url) if trial.system_attrs.get("failed_trial") == dead.number]
    assert again.params.items() >= dead.params.items()


def test_a_process_that_was_taken_for_dead_goes_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing within a trial for longer than the grace period: another one runs the trial again and completes
    the study, and the late result is dropped."""
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    monkeypatch.setattr(shared._Heartbeat, "_tell", lambda self: None)
    other: list[FitResult] = []
    report = study._Objective._report

    def slow(self: study._Objective, trial: optuna.Trial, found: Any) -> None:
        if trial.number == 2 and not other:
            other.append(fit(**QUESTION, trials=6, storage=url))
        report(self, trial, found)

    monkeypatch.setattr(study._Objective, "_report", slow)
    mine = fit(**QUESTION, trials=6, storage=url)
    assert mine.plans == other[0].plans
    assert (mine.searched.trials, other[0].searched.trials, len(finished(url))) == (6, 6, 6)
    assert [trial.number for trial in trials_of(url) if trial.state is TrialState.FAIL] == [2]


def test_an_interrupted_trial_is_given_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study._Objective, "_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(**QUESTION, trials=3, storage=url)
    assert [trial.state for trial in trials_of(url)] == [TrialState.FAIL]


# --- going on ---


@pytest.mark.parametrize("sampler", ["random", "nsga2", "tpe", "brute-force"])
def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(tmp_path: Path, sampler: str) -> None:
    drawn = []
    for name, stops in (("whole", (20,)), ("resumed", (7, 20))):
        url = f"sqlite:///{tmp_path / name}.db"
        for trials in stops:
            fit(**{**QUESTION, "sampler": sampler}, trials=trials, storage=url, optimizer="all", precision="all")
        drawn.append([trial.params for trial in trials_of(url)])
    assert drawn[0] == drawn[1]
    assert len({json.dumps(params) for params in drawn[1]}) > 12


def test_a_study_that_an_older_version_wrote_in_part_is_completed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    fit("gpt2", gpu="T4", storage=url)
    whole = finished(url)
    (name,) = optuna.get_all_study_names(url)
    copy = optuna.load_study(study_name=name, storage=url)
    optuna.delete_study(study_name=name, storage=url)
    partial = optuna.create_study(study_name=name, storage=url, direction="maximize")
    partial.add_trials([trial for trial in copy.trials if trial.number % 2])
    fit("gpt2", gpu="T4", storage=url)
    assert sorted(map(str, finished(url).values())) == sorted(map(str, whole.values()))


# --- walls ---


def limited_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))


def test_a_full_disk_ends_a_study_with_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    done = subprocess.run(
        command(url, "--engine", "optuna", "--trials", "400"), capture_output=True, text=True, preexec_fn=limited_files
    )
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"error: storage '{url}' cannot be used: ")
    assert lines[1] == "hint: what was finished is kept: make room and run it again"
    kept = len(finished(url))
    assert fit(**QUESTION, trials=3, storage=url).searched.trials == 3
    assert kept > 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"junk" * 1000, "file is not a database"), (b"SQLite format 3\0" + b"\xff" * 9000, "not a database")],
)
def test_a_damaged_database_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "study.db").write_bytes(content)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.raises(PlannerError, match="cannot be used: ") as refused:
        fit(**QUESTION, trials=2, storage=url)
    assert reason in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trial_params SET distribution_json = '{'",
        "UPDATE trial_params SET param_value = 99",
        "UPDATE trial_user_attributes SET value_json = 'x'",
        "UPDATE trial_values SET value_type = 'ODD'",
        "UPDATE trials SET state = 'ODD'",
        "DELETE FROM study_directions",
        "UPDATE version_info SET schema_version = 1",
        "UPDATE alembic_version SET version_num = 'ODD'",
        "DROP TABLE trial_values",
    ],
)
def test_a_database_that_was_edited_by_hand_is_no_internal_error(tmp_path: Path, damage: str) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    fit(**QUESTION, trials=3, storage=url)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute(damage)
    with suppress(PlannerError):
        fit(**QUESTION, trials=5, storage=url)


@pytest.mark.parametrize("name", ["", "missing/study.db", "folder", "/dev/full"])
def test_a_place_where_no_database_can_be_says_so(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(PlannerError) as refused:
        fit(**QUESTION, trials=2, storage=f"sqlite:///{name}")
    assert refused.value.message.startswith(f"storage 'sqlite:///{name}' ")
    assert refused.value.hint


def test_a_database_that_another_process_keeps_locked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LOCK_SECONDS", 1)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    fit(**QUESTION, trials=2, storage=url)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(PlannerError, match="cannot be used: database is locked") as refused:
        fit(**QUESTION, trials=4, storage=url)
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("another process keeps the database locked")
    holder.close()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_database_that_must_not_be_written_says_so(tmp_path: Path, what: str, as_anybody: list[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    url = f"sqlite:///{folder / 'study.db'}"
    if what == "file":
        fit(**QUESTION, trials=2, storage=url)
        (folder / "study.db").chmod(0o400)
    folder.chmod(0o500)
    asked = [*as_anybody, *command(url, *OPTUNA)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=False)
    folder.chmod(0o700)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: storage '{url}' cannot be used: ")


def test_waiting_for_others_ends_with_the_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(**QUESTION, trials=2, storage=url)
    (name,) = optuna.get_all_study_names(url)
    alive = optuna.load_study(study_name=name, storage=url)
    alive.ask()
    told: list[str] = []
    monkeypatch.setattr(storage, "GRACE_SECONDS", SECONDS)
    result = fit(**QUESTION, trials=3, timeout=3, storage=url, progress=told.append)
    assert result.searched.trials == 2
    assert told == ["waiting for 1 trials that other processes have begun"]

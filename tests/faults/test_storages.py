"""What the databases of studies are asked for, and what is said when they refuse."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest
from kills import SECONDS, command, finished, start, trials_of
from postgres import Server
from sqlalchemy.engine import make_url

from planner import PlannerError, fit
from planner.search.studies import storage, study
from planner.search.studies.quiet import quiet

QUESTION: dict[str, Any] = {"model": "gpt2", "gpu": "T4", "engine": "optuna", "sampler": "random"}
SINGLE = {"finetuning": "full", "precision": "fp32", "optimizer": "adamw", "checkpointing": "full"}


def connected(url: str) -> psycopg.Connection[Any]:
    parsed = make_url(url)
    host = parsed.query["host"]
    assert isinstance(host, str)
    return psycopg.connect(host=host, user="planner", dbname=parsed.database, autocommit=True)


@pytest.mark.parametrize(
    ("told", "secret"),
    [
        ("postgresql+psycopg://me:***@127.0.0.1:1/x", "secret"),
        ("postgresql+psycopg://me:***@127.0.0.1:1/x", "se:cr@et/"),
        ("postgresql+psycopg://me@127.0.0.1:1/x?password=***&application_name=y", "secret"),
    ],
)
def test_a_password_is_not_told(told: str, secret: str) -> None:
    with pytest.raises(PlannerError) as refused:
        fit(**QUESTION, trials=2, storage=told.replace("***", secret))
    assert f"storage {told!r}" in refused.value.message
    assert secret not in str(refused.value)


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from planner import fit\n"
        "fit('gpt2', gpu='T4', engine='optuna', trials=1, storage='postgresql://h/x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "needs the package psycopg" in done.stderr
    assert "hint: pip install 'psycopg[binary]>=3.1'" in done.stderr


@pytest.mark.parametrize("folder", ["{a}", "{}", "50%", "a b", "#1"])
def test_any_path_holds_a_database(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    url = f"sqlite:///{tmp_path / folder / 'study.db'}"
    assert fit(**QUESTION, trials=2, storage=url).searched.trials == 2
    assert (tmp_path / folder / "study.db").exists()


def test_candidates_are_written_once_also_where_there_is_nothing_to_choose(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(3):
        fit("gpt2", gpu="T4", storage=url, **SINGLE)
    assert len(finished(url)) == 1


def test_whoever_looks_at_a_dead_trial_does_not_keep_it_alive(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run ends before the grace period; together they outlast it."""
    monkeypatch.setattr(storage, "GRACE_SECONDS", 2)
    fit(**QUESTION, trials=2, storage=url)
    (name,) = optuna.get_all_study_names(url)
    optuna.load_study(study_name=name, storage=url).ask()
    for _ in range(8):
        if fit(**QUESTION, trials=3, timeout=1, storage=url).searched.trials == 3:
            break
    assert len(finished(url)) == 3


def test_mistakes_of_ones_own_are_not_blamed_on_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: Any) -> dict[str, Any]:
        return {"not JSON": object()}

    monkeypatch.setattr(study, "attributes", mistaken)
    with pytest.raises(TypeError, match="not JSON serializable"):
        fit(**QUESTION, trials=1, storage=f"sqlite:///{tmp_path / 'study.db'}")


def test_logs_and_warnings_are_afterwards_as_they_were(tmp_path: Path) -> None:
    before = optuna.logging.get_verbosity(), list(warnings.filters)
    fit(**QUESTION, trials=1, storage=f"sqlite:///{tmp_path / 'study.db'}")
    with quiet(), quiet():
        assert optuna.logging.get_verbosity() == logging.ERROR
    assert (optuna.logging.get_verbosity(), list(warnings.filters)) == before


# --- PostgreSQL ---


def test_a_lock_that_nobody_gives_back_is_not_waited_for(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SILENT_SECONDS", 1)
    url = postgres.new_database()
    fit(**QUESTION, trials=1, storage=url)
    with connected(url) as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT * FROM studies FOR UPDATE")
        with pytest.raises(PlannerError, match="lock timeout") as refused:
            fit(**QUESTION, trials=2, storage=url)
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("another process keeps the database locked")


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_the_usual_isolation_of_a_database_does_not_matter(postgres: Server, isolation: str) -> None:
    url = postgres.new_database()
    with connected(url) as connection:
        name = make_url(url).database
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    running = [start(url, "--engine", "optuna", "--trials", "30", "--sampler", "random") for _ in range(3)]
    assert [process.wait(SECONDS) for process in running] == [0, 0, 0]
    numbers = [trial.number for trial in trials_of(url)]
    assert (len(finished(url)), len(numbers)) == (30, len(set(numbers)))


def test_processes_in_different_time_zones_agree_on_who_is_alive(postgres: Server) -> None:
    url = postgres.new_database()
    asked = ["--engine", "optuna", "--sampler", "random", "--trials"]
    assert start(url, *asked, "5").wait(SECONDS) == 0
    (name,) = optuna.get_all_study_names(url)
    optuna.load_study(study_name=name, storage=url).ask()  # whose process is gone
    running = [
        subprocess.Popen(command(url, *asked, "12"), env={**os.environ, "PGTZ": zone}, stdout=subprocess.DEVNULL)
        for zone in ("Asia/Tokyo", "America/New_York")
    ]
    assert [process.wait(SECONDS) for process in running] == [0, 0]
    assert len(finished(url)) == 12

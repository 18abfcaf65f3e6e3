"""What is said of a database that cannot be used, and how one is asked that several processes use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import text

from planner.search import EngineError
from planner.search.studies import storage
from planner.search.studies.storage import open_storage

SAMPLE = "for example sqlite:///study.db"


def refused(url: str) -> EngineError:
    with pytest.raises(EngineError) as caught, open_storage(url):
        pass
    return caught.value


def test_without_a_url_nothing_is_kept() -> None:
    with open_storage(None) as opened:
        assert opened is None


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_keeps_nothing_and_is_refused(url: str) -> None:
    error = refused(url)
    assert error.message == f"storage {url!r} is in memory, where nothing is kept"
    assert error.hint == "sqlite:///study.db"


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("nowhere://x", "storage 'nowhere://x' cannot be used: ", SAMPLE),
        ("no url", "storage 'no url' cannot be used: ", SAMPLE),
        ("sqlite:////nowhere/x.db", "storage 'sqlite:////nowhere/x.db' cannot be used: unable to open", SAMPLE),
    ],
)
def test_a_url_that_cannot_be_used_is_named_with_the_reason(url: str, message: str, hint: str) -> None:
    error = refused(url)
    assert error.message.startswith(message)
    assert error.hint == hint


def test_a_long_url_is_shortened_and_so_is_a_long_reason() -> None:
    error = refused("nowhere://" + "x" * 500)
    url, _, reason = error.message.partition(" cannot be used: ")
    assert len(url) == len("storage ") + 200
    assert url.endswith("...")
    assert len(reason) <= 200
    exact = "nowhere://" + "x" * 188  # with its quotes 200 characters
    assert refused(exact).message.startswith(f"storage {exact!r} cannot be used")
    assert refused(f"{exact}x").message.startswith(f"storage {exact!r}"[:-3] + "... cannot be used")


class DriverError(Exception):
    """What a driver raises."""


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("database or disk is full", "make room and run it again"),
        ("No space left on device", "make room and run it again"),
        ("disk I/O error", "make room and run it again"),
        ("disk quota exceeded", "make room and run it again"),
        ("database is locked", "let it go on or stop it, or give another --storage"),
        ("canceling statement due to lock timeout", "let it go on or stop it, or give another --storage"),
        ("database disk image is malformed", "move it away, or give another --storage"),
        ("file is not a database", "move it away, or give another --storage"),
        ("index is corrupt", "move it away, or give another --storage"),
        ("attempt to write a readonly database", "give a --storage that can be written"),
        ("connection refused", "see to the server, and run it again"),
        ("the server closed it", "see to the server, and run it again"),
        ("whatever else", SAMPLE),
    ],
)
def test_each_reason_has_a_way_out(reason: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(url: str) -> Any:
        raise RuntimeError("a longer sentence") from DriverError(f"{reason}\n  here")

    monkeypatch.setattr(storage, "_created", fails)
    error = refused("sqlite:///x.db")
    assert error.message == f"storage 'sqlite:///x.db' cannot be used: {reason} here"
    assert error.hint is not None
    assert error.hint.endswith(hint)


def test_a_package_that_nobody_names_is_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(url: str) -> Any:
        raise ImportError("no driver") from None

    monkeypatch.setattr(storage, "_created", fails)
    assert refused("other://x").message == "storage 'other://x' needs the package the database's driver"

    def names_its_cause(url: str) -> Any:
        raise ImportError("no driver") from ImportError("mysql is missing", name="mysql")

    monkeypatch.setattr(storage, "_created", names_its_cause)
    assert (refused("other://x").message, refused("other://x").hint) == (
        "storage 'other://x' needs the package mysql",
        "pip install mysql",
    )


def ask(url: str, asked: Callable[[Any], object]) -> None:
    with open_storage(url) as opened:
        asked(opened)


def test_errors_of_ones_own_pass_through_and_those_of_the_database_are_told(tmp_path: Path) -> None:
    def mistaken(opened: Any) -> None:
        raise ZeroDivisionError

    def of_no_table(opened: Any) -> None:
        with opened.engine.connect() as connection:
            connection.execute(text("SELECT * FROM planets"))

    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.raises(ZeroDivisionError):
        ask(url, mistaken)
    with pytest.raises(EngineError, match="no such table: planets"):
        ask(url, of_no_table)


def test_rows_that_optuna_cannot_read_are_the_databases(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with open_storage(url) as opened:
        study = optuna.create_study(storage=opened, study_name="s")
        study.ask({"x": optuna.distributions.IntDistribution(0, 1)})
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("UPDATE trial_params SET distribution_json = '{'")
        connection.commit()
    with pytest.raises(EngineError, match="cannot be used"):
        ask(url, lambda opened: optuna.load_study(storage=opened, study_name="s").get_trials())


def test_a_database_is_made_where_there_is_none_and_used_where_there_is_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with open_storage(url) as opened:
        optuna.create_study(storage=opened, study_name="s")
    with open_storage(url) as opened:
        assert optuna.get_all_study_names(opened) == ["s"]


def test_a_race_to_create_tables_is_run_again_until_attempts_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    kind, attempts = storage._storage_type(), []

    def races(lost: int, message: str) -> Any:
        attempts.clear()

        def make(*arguments: Any, **options: Any) -> Any:
            attempts.append(1)
            if len(attempts) <= lost:
                raise OperationalError("CREATE TABLE", {}, Exception(message))
            return kind(*arguments, **options)

        monkeypatch.setattr(storage, "_storage_type", lambda: make)

    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    races(9, "table studies already exists")
    with open_storage(url) as opened:
        assert opened is not None
    assert len(attempts) == storage.CREATIONS == 10
    races(10, "table studies already exists")
    assert "already exists" in refused(url).message
    assert len(attempts) == 10
    races(1, "disk I/O error")
    assert "disk I/O error" in refused(url).message
    assert len(attempts) == 1


def test_what_may_write_takes_sqlites_lock_at_once_and_reading_all_trials_does_not(tmp_path: Path) -> None:
    from sqlalchemy import event

    begun: list[str] = []
    with open_storage(f"sqlite:///{tmp_path / 'study.db'}") as opened:
        assert opened is not None

        @event.listens_for(opened.engine, "before_cursor_execute")
        def said(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("BEGIN"):
                begun.append(statement)

        study = optuna.create_study(storage=opened, study_name="s")
        assert set(begun) == {"BEGIN IMMEDIATE"}
        begun.clear()
        study.get_trials()
        assert begun == ["BEGIN"]
        begun.clear()
        study.ask()
        assert "BEGIN IMMEDIATE" in begun
        with opened.engine.connect() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 0


def test_postgresql_is_told_when_to_give_up_a_server_and_sqlite_when_a_lock() -> None:
    assert storage._engine_options("sqlite", "pysqlite") == {"connect_args": {"timeout": 60}}
    assert storage._engine_options("mysql", "pymysql") == {}
    assert storage._engine_options("postgresql", "pg8000") == {"isolation_level": "READ COMMITTED"}
    assert storage._engine_options("postgresql", "psycopg2") == {
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_count": 2,
            "keepalives_interval": 5,
            "tcp_user_timeout": 20_000,
        },
    }

"""Opens databases that keep studies for any number of processes: SQLite, PostgreSQL, or others of SQLAlchemy."""

from __future__ import annotations

import random
import re
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from planner.extras import install_hint
from planner.search.engine import EngineError

if TYPE_CHECKING:  # importing optuna takes a quarter of a second: only studies import it
    from optuna.storages import RDBStorage

HEARTBEAT_SECONDS: Final = 1
"""Seconds between two heartbeats, by which a process tells that it still works on a trial. Databases keep whole
seconds."""

GRACE_SECONDS: Final = 5
"""Seconds without a heartbeat after which a trial's process counts as dead, and another one runs the trial again."""

RETRIES: Final = 3
"""Number of times that a trial whose process died is run again: one that kills its process must not kill all of
them."""

LOCK_SECONDS: Final = 60
"""Seconds that a process waits for SQLite's lock. Writing a trial takes about a millisecond, and writing all candidates
of the exhaustive engine a second or two; reading 12,000 trials, which delays writers, takes 5 s."""

SILENT_SECONDS: Final = 10
"""Seconds that a process waits for PostgreSQL: for a lock, which optuna tries to take some five times, and for a server
that does not answer."""

CREATIONS: Final = 10
"""Number of attempts to create the tables, which fail if another process creates them at the same moment."""

_PASSWORD: Final = re.compile(r"(?P<before>://[^:@/\s]*:(?=\S*@)|password=)(?:\S*(?=@)|[^&\s]*)")
_SAMPLE: Final = "sqlite:///study.db"


@contextmanager
def open_storage(url: str | None) -> Iterator[RDBStorage | None]:
    """Opens the database of a URL, and creates optuna's tables if there are none.

    Args:
        url: URL as SQLAlchemy takes it; None if the study is not kept.

    Yields:
        The storage, or None if `url` is None.

    Raises:
        EngineError: The database cannot be used, at first or while it is open.
    """
    if url is None:
        yield None
        return
    try:
        storage = _created(url)
    except (EngineError, KeyboardInterrupt):
        raise
    except ImportError as error:
        raise _missing_driver(url, error) from None
    except Exception as error:  # any error of the driver, and a schema that is not optuna's
        raise _refused(url, error) from error
    try:
        yield storage
    except Exception as error:
        if not _is_of_the_database(error):
            raise
        raise _refused(url, error) from error
    finally:
        with suppress(Exception):  # raised if the database is gone
            storage.remove_session()
            storage.engine.dispose()


def _created(url: str) -> RDBStorage:
    """Returns the storage of a URL; tries again if another process creates the tables at the same moment."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise EngineError(f"storage {_shown(url)} is in memory, where nothing is kept", _SAMPLE)
    for attempt in range(CREATIONS):
        try:
            storage = _storage_type()(
                url.replace("{", "{{").replace("}", "}}"),  # optuna calls `format` on it
                engine_kwargs=_engine_options(backend, parsed.get_driver_name()),
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
            break
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            is_race = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not is_race or attempt == CREATIONS - 1:
                raise
            time.sleep(random.uniform(0.02, 0.2))
    if backend == "sqlite":
        _take_turns(storage)
    elif backend == "postgresql":
        _wait_for_locks(storage)
    return storage


def _engine_options(backend: str, driver: str) -> dict[str, Any]:
    """Returns the options for SQLAlchemy's engine."""
    if backend == "sqlite":
        return {"connect_args": {"timeout": LOCK_SECONDS}}
    if backend != "postgresql":
        return {}
    # A stricter isolation than PostgreSQL's default would count trials as they were before the lock was granted.
    options: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
    if driver.startswith("psycopg"):  # options of libpq that end the waiting for a silent server
        seconds = SILENT_SECONDS
        options["connect_args"] = {"connect_timeout": seconds, "keepalives_idle": seconds, "keepalives_count": 2}
        options["connect_args"] |= {"keepalives_interval": seconds // 2, "tcp_user_timeout": 1000 * 2 * seconds}
    return options


@cache
def _storage_type() -> type[RDBStorage]:
    """Returns optuna's storage, extended to record for each thread whether it is reading all trials."""
    from optuna.storages import RDBStorage

    class Storage(RDBStorage):
        def _get_trials(self, *arguments: Any, **options: Any) -> Any:
            _thread.reads = True
            try:
                return super()._get_trials(*arguments, **options)
            finally:
                _thread.reads = False

    return Storage


_thread = threading.local()


def _take_turns(storage: RDBStorage) -> None:
    """Makes each transaction of SQLite that may write take the lock when it begins.

    Python's driver begins a transaction at the first write, so two processes may both read that a trial is waiting, and
    both start it. Optuna locks rows of other databases by SELECT ... FOR UPDATE; BEGIN IMMEDIATE locks SQLite instead.
    The event handlers are those of SQLAlchemy's documentation (dialects/sqlite, "Serializable isolation / Savepoints /
    Transactional DDL"). Reading all trials does not take the lock, since it does not write and takes seconds in a large
    study. With `synchronous = OFF` the operating system decides when to write to disk: a crash of the machine can lose
    data, a killed process cannot.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = OFF")

    @event.listens_for(storage.engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if getattr(_thread, "reads", False) else "BEGIN IMMEDIATE")

    storage.engine.dispose()  # closes connections that were made without the handlers


def _wait_for_locks(storage: RDBStorage) -> None:
    """Limits how long PostgreSQL waits for a lock, and sets the time zone of all sessions to UTC.

    Optuna compares the times of heartbeats without time zones, so all processes must record them in the same one.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(f"SET lock_timeout = '{SILENT_SECONDS}s'")
        connection.commit()

    storage.engine.dispose()


def _missing_driver(url: str, error: ImportError) -> EngineError:
    """Returns the error for a missing package, which is named by the error or by its cause."""
    name = error.name or getattr(error.__cause__, "name", None) or "the database's driver"
    hint = install_hint("postgresql") if name.startswith("psycopg") else f"pip install {name}"
    return EngineError(f"storage {_shown(url)} needs the package {name}", hint)


def _refused(url: str, error: BaseException) -> EngineError:
    reason = _without_passwords(" ".join(str(_root(error)).split()))[:200]
    return EngineError(f"storage {_shown(url)} cannot be used: {reason}", _way_out(reason))


_READERS: Final = {"_get_trials", "get_trial", "_build_frozen_trial_from_trial_model", "json_to_distribution"}
"""Functions of optuna that read rows: any error in them means that optuna did not write the rows."""


def _is_of_the_database(error: BaseException) -> bool:
    """Returns whether the database caused an error, and not a mistake in the planner."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, SQLAlchemyError | StorageInternalError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.name in _READERS or frame.name.startswith("find_or_raise") for frame in frames)


def _root(error: BaseException) -> BaseException:
    """Returns the driver's own error, whose text is shorter than those of optuna and SQLAlchemy."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def _way_out(reason: str) -> str:
    """Returns the hint for the text of a driver's error."""
    if any(words in reason for words in ("full", "No space", "disk I/O error", "quota")):
        return "what was finished is kept: make room and run it again"
    if "locked" in reason or "lock timeout" in reason:
        return "another process keeps the database locked: let it go on or stop it, or give another --storage"
    if any(words in reason for words in ("malformed", "not a database", "corrupt")):
        return "the file is damaged: move it away, or give another --storage"
    if "readonly" in reason:
        return "give a --storage that can be written"
    if "connection" in reason or "server" in reason:
        return "what was finished is kept: see to the server, and run it again"
    return f"for example {_SAMPLE}"


def _shown(url: str) -> str:
    """Returns a URL without its password, shortened to 200 characters."""
    text = repr(_without_passwords(url))
    return text if len(text) <= 200 else f"{text[:197]}..."


def _without_passwords(text: str) -> str:
    return _PASSWORD.sub(r"\g<before>***", text)

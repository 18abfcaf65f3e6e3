"""Studies in a database that any number of processes may use at once: SQLite, PostgreSQL, whatever SQLAlchemy knows."""

from __future__ import annotations

import random
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from planner.search.engine import EngineError

if TYPE_CHECKING:  # optuna takes a quarter of a second, and is imported when a study is asked for
    from optuna.storages import RDBStorage

HEARTBEAT_SECONDS: Final = 1
"""How often a process tells that it still works on a trial. Databases keep whole seconds."""

GRACE_SECONDS: Final = 5
"""After so long without a heartbeat a trial's process counts as dead, and another one runs the trial again."""

RETRIES: Final = 3
"""How often a trial whose process died is run again: one that kills every process must not kill all of them."""

LOCK_SECONDS: Final = 30
"""How long a process waits for its turn to write. A trial writes for about a millisecond, all candidates of the
exhaustive engine for a second or two."""

CREATIONS: Final = 10
"""Attempts to create tables that another process creates at the same moment."""

_PASSWORD: Final = re.compile(r"(?<=:)[^:@/]+(?=@)")
_SAMPLE: Final = "sqlite:///study.db"


def open_storage(url: str) -> RDBStorage:
    """Opens the database and creates optuna's tables where there are none.

    Raises EngineError if it cannot be used.
    """
    with told_of(url):
        return _created(url)


def _created(url: str) -> RDBStorage:
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database in (None, "", ":memory:"):
        raise EngineError(f"storage {url!r} is in memory, where nothing is kept", _SAMPLE)
    options: dict[str, Any] = {"connect_args": {"timeout": LOCK_SECONDS}} if is_sqlite else {}
    for attempt in range(CREATIONS):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=options,
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
    if is_sqlite:
        _take_turns(storage)
    return storage


def _take_turns(storage: RDBStorage) -> None:
    """Makes each transaction of SQLite take the lock when it begins.

    Python's driver begins a transaction at the first write, so that two processes may both read that a trial waits, and
    both start it. What optuna locks by SELECT ... FOR UPDATE elsewhere, SQLite locks by BEGIN IMMEDIATE; the events are
    those of SQLAlchemy's documentation (dialects/sqlite, "Serializable isolation / Savepoints / Transactional DDL").
    Writing is left to the system: what is lost then is lost with the machine, not with a killed process.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = OFF")

    @event.listens_for(storage.engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections that were made before


@contextmanager
def told_of(url: str | None) -> Iterator[None]:
    """Turns what a database objects to into an EngineError with its reason and the way out."""
    try:
        yield
    except EngineError:
        raise
    except ImportError as error:
        hint = "pip install 'training-planner[postgresql]'" if "psycopg" in str(error) else f"install it, or {_SAMPLE}"
        raise EngineError(f"storage {_shown(url)} needs the package {error.name}", hint) from None
    except Exception as error:
        if url is None or not _is_of_the_database(error):
            raise
        reason = " ".join(str(_root(error)).split())[:200]
        raise EngineError(f"storage {_shown(url)} cannot be used: {reason}", _way_out(reason)) from error


def _is_of_the_database(error: BaseException) -> bool:
    """Whether an error came out of optuna's storage or the packages below it, whatever its type: a row that was edited
    by hand fails as a KeyError there."""
    packages = ("/optuna/storages/", "/optuna/distributions", "/sqlalchemy/", "/alembic/", "/psycopg")
    frames = traceback.extract_tb(error.__traceback__)
    return any(part in frame.filename.replace("\\", "/") for frame in frames for part in packages)


def _root(error: BaseException) -> BaseException:
    """What the driver said, of which optuna and SQLAlchemy make longer sentences."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def _way_out(reason: str) -> str:
    if any(words in reason for words in ("full", "No space", "disk I/O error", "quota")):
        return "what was finished is kept: make room and run it again"
    if "locked" in reason:
        return f"another process has kept the database locked for {LOCK_SECONDS} s; stop it, or give another --storage"
    if any(words in reason for words in ("malformed", "not a database", "corrupt")):
        return "the file is damaged: move it away, or give another --storage"
    if "readonly" in reason:
        return "give a --storage that can be written"
    return f"for example {_SAMPLE}"


def _shown(url: str | None) -> str:
    """A URL without its password, shortened."""
    text = repr(_PASSWORD.sub("***", url or ""))
    return text if len(text) <= 200 else f"{text[:197]}..."

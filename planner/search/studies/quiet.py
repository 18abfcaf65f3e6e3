"""Silences optuna while a study runs, in any number of threads."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna

_users = 0
_lock = threading.Lock()
_before: tuple[int, list[Any]] = 0, []


@contextmanager
def quiet() -> Iterator[None]:
    """Silences optuna's log of every trial and its experimental warnings while any thread is in this context."""
    global _users, _before
    with _lock:
        if _users == 0:
            _before = optuna.logging.get_verbosity(), list(warnings.filters)
            optuna.logging.set_verbosity(logging.ERROR)
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                verbosity, filters = _before
                optuna.logging.set_verbosity(verbosity)
                warnings.filters[:] = filters  # type: ignore[index]  # a list, typed as a sequence

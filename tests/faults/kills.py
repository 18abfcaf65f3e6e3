"""Processes that work on one study and are killed at random moments; what must be true of the study all the while."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from planner.search.studies.storage import open_storage

OPTIMIZERS = "adamw,adamw-8bit,adafactor,sgd"
QUESTION = ["fit", "gpt2", "--gpu", "A100-40GB", "--precision", "all", "--optimizer", OPTIMIZERS]
QUESTION += ["--checkpointing", "all"]
CANDIDATES = 648
"""Which the exhaustive engine writes to a study."""
SECONDS = 120
"""Within which a process that is not killed has to end."""


class Outcome(NamedTuple):
    """What became of a study."""

    kills: int
    completed: int
    codes: list[int]
    """Of the processes that were not killed."""
    wrong: list[str]
    plans: set[str]
    """The different answers that they gave."""


def command(url: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "planner", *QUESTION, "--storage", url, "--json", *more]


def start(url: str, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(url, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def trials_of(url: str) -> list[optuna.trial.FrozenTrial]:
    """Returns the trials of the only study of a database; none where there is no study yet.

    The database is opened as the processes open it, which wait for its lock as long as it takes, and closed again:
    optuna's own way waits for five seconds and keeps the file open until the garbage is collected.

    Raises:
        EngineError: The database cannot be read; its own words are in the message.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_storage(url) as storage:
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=names[0], storage=storage).trials if names else []


def finished(url: str) -> dict[int, tuple[Any, ...]]:
    """What must never change: the completed trials by their number."""
    return {
        t.number: (tuple(t.values), tuple(sorted(t.params.items())), tuple(sorted(t.user_attrs.items())))
        for t in trials_of(url)
        if t.state is TrialState.COMPLETE
    }


def kill_writers(
    url: str, options: list[str], trials: int, kills: int, rng: random.Random, *, at_once: int = 2
) -> Outcome:
    """Runs processes on a study, kills one of them at random moments and starts another, and lets all end at last.

    Args:
        trials: how many completed trials the study has at the end.
        at_once: how many processes there are at any time.
    """
    wrong: list[str] = []
    before: dict[int, tuple[Any, ...]] = {}
    running = [start(url, *options) for _ in range(at_once)]
    for _ in range(kills):
        time.sleep(rng.uniform(0.3, 1.5))
        victim = running.pop(rng.randrange(at_once))
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        now = finished(url)
        lost = [number for number, trial in before.items() if now.get(number) != trial]
        wrong += [f"trial {number} was lost or changed" for number in lost]
        before = now
        running.append(start(url, *options))
    codes, plans = [], set()
    for process in running:
        out, error = process.communicate(timeout=SECONDS)
        codes.append(process.returncode)
        if process.returncode:
            wrong.append(f"a process ended with {process.returncode}: {error.decode()[-300:]}")
        else:
            plans.add(json.dumps(json.loads(out)["plans"]))
    return Outcome(kills, *_checked(url, trials, before, wrong, codes), plans)


def _checked(
    url: str, trials: int, before: dict[int, tuple[Any, ...]], wrong: list[str], codes: list[int]
) -> tuple[int, list[int], list[str]]:
    last = finished(url)
    wrong += [f"trial {number} was lost or changed" for number, trial in before.items() if last.get(number) != trial]
    if len(last) != trials:
        wrong.append(f"{len(last)} completed trials, not {trials}")
    numbers = Counter(trial.number for trial in trials_of(url))
    wrong += [f"{n} trials have the number {number}" for number, n in numbers.items() if n > 1]
    return len(last), codes, wrong

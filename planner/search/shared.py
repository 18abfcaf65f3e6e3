"""A study that any number of processes work on at the same time, and complete together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from planner.search.engine import Progress
from planner.search.storage import HEARTBEAT_SECONDS

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

POLL_SECONDS: Final = 0.2
"""How often a process that has nothing to do looks whether others have completed their trials, or died."""

Values = float | Sequence[float]


class SharedStudy:
    """Hands out trials of a study until it has as many completed ones as are wanted, whoever ran them.

    A trial is a process's own when fewer trials than are wanted have completed or are running before it. Of processes
    that begin trials at the same time the one with the higher number sees the other, and withdraws: so the study never
    has one too many. A process without a trial waits for the others' and takes over those of processes that died.

    Args:
        study: the study.
        storage: its database; None if it is in this process's memory.
        wanted: how many trials are to be completed, given those that are.
        deadline: `time.monotonic()` at which no trial begins any more.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: RDBStorage | None,
        wanted: Callable[[Sequence[FrozenTrial]], int],
        deadline: float | None,
        progress: Progress,
    ) -> None:
        self.study, self._wanted, self._deadline, self._progress = study, wanted, deadline, progress
        self._heartbeat = _Heartbeat(storage, study.study_name)
        self._seen: set[int] = set()
        self._waited = False

    def run(self, objective: Callable[[optuna.Trial], Values]) -> None:
        """Runs trials until the study has as many as are wanted, or the time is over."""
        self._look_after(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        with self._heartbeat:
            while (trial := self._next()) is not None:
                self._run(trial, objective)

    def _run(self, trial: optuna.Trial, objective: Callable[[optuna.Trial], Values]) -> None:
        try:
            values = objective(trial)
            self._finish(trial, values=values)
        except UpdateFinishedTrialError:  # another process has it: this one was taken for dead
            return
        except BaseException:  # an interrupt, too: nobody has to wait until this process counts as dead
            with suppress(Exception):  # the first error is the one to tell
                self._finish(trial, state=TrialState.FAIL)
            raise

    def _finish(self, trial: optuna.Trial, *, values: Values | None = None, state: TrialState | None = None) -> None:
        self._heartbeat.number = None
        with suppress(UpdateFinishedTrialError):  # at this very moment
            self.study.tell(trial, values, state, skip_if_finished=True)

    def _next(self) -> optuna.Trial | None:
        """A trial to run, as soon as there is one; None if all is done."""
        while self._deadline is None or time.monotonic() < self._deadline:
            trials = self.study.get_trials(deepcopy=False)
            completed = [trial for trial in trials if trial.state is TrialState.COMPLETE]
            running = [trial for trial in trials if trial.state is TrialState.RUNNING]
            wanted = self._wanted(completed)
            if len(completed) >= wanted:
                return None
            if len(completed) + len(running) >= wanted:
                self._wait(running)
                continue
            trial = self.study.ask()
            if self._is_own(trial.number):
                self._heartbeat.number = trial.number
                return trial
            self._finish(trial, state=TrialState.FAIL)
        return None

    def _is_own(self, number: int) -> bool:
        """Whether there is a place for a trial behind those that completed or began before it."""
        trials = self.study.get_trials(deepcopy=False)
        states = Counter(t.state for t in trials if t.state is TrialState.COMPLETE or t.number < number)
        taken = states[TrialState.COMPLETE] + states[TrialState.RUNNING] + states[TrialState.WAITING]
        completed = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        return taken < self._wanted(completed)

    def _wait(self, running: Sequence[FrozenTrial]) -> None:
        """Gives other processes time to complete their trials."""
        if not self._waited:
            self._waited = True
            self._progress(f"waiting for {len(running)} trials that other processes have begun")
        self._look_after(running)
        time.sleep(POLL_SECONDS)

    def _look_after(self, running: Sequence[FrozenTrial]) -> None:
        """Has those trials run again whose processes died: their heartbeats stopped. A process that died at once left a
        trial without any heartbeat, which gets one here, for all to see it stop."""
        numbers = {trial.number for trial in running}
        for number in numbers - self._seen:
            self._heartbeat.begin(number)
        self._seen |= numbers
        optuna.storages.fail_stale_trials(self.study)


class _Heartbeat:
    """Tells the database that this process still works on the trial with a number.

    optuna does so in `Study.optimize`, for each trial from its start; here trials take milliseconds, and only those
    that last need it.
    """

    def __init__(self, storage: RDBStorage | None, study_name: str) -> None:
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study_name) if storage is not None else 0
        self.number: int | None = None
        self._stopped = Event()
        self._thread = Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Self:
        if self._storage is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._storage is not None:
            self._thread.join()

    def begin(self, number: int) -> None:
        """Records a trial's first heartbeat if it has none; one that was recorded stays as it is."""
        if self._storage is None:
            return
        query = text("SELECT 1 FROM trial_heartbeats WHERE trial_id = :id")
        with self._storage.engine.connect() as connection:
            is_known = connection.execute(query, {"id": self._id_of(number)}).first() is not None
        if not is_known:
            self.beat(number)

    def beat(self, number: int) -> None:
        """Records that a trial was alive just now."""
        if self._storage is not None:
            self._storage.record_heartbeat(self._id_of(number))

    def _id_of(self, number: int) -> int:
        assert self._storage is not None
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _tell(self) -> None:
        assert self._storage is not None
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            number = self.number
            try:
                if number is not None:
                    self.beat(number)
            except Exception:
                continue  # the trial itself will meet what is wrong with the database, and says it
        self._storage.remove_session()

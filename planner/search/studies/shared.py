"""Runs a study that any number of processes work on at the same time, and complete together."""

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
from planner.search.studies.storage import HEARTBEAT_SECONDS

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

POLL_SECONDS: Final = 0.2
"""Seconds between two looks of an idle process for completed trials of other processes, or for dead ones."""

Values = float | Sequence[float]
"""Values of a trial's objectives."""


class SharedStudy:
    """Hands out trials of a study until enough of them are completed, by this process or by others.

    A process may run a trial if the completed trials, and those that run or wait with a lower number, are fewer than
    are wanted. If two processes begin trials at the same time, the one with the higher number sees the other's and
    withdraws, so the study never gets too many. A process without a trial waits for those of other processes, and takes
    over the trials of processes that died.

    Args:
        study: The study.
        storage: Its database; None if it is in this process's memory.
        wanted: Returns how many trials are to be completed, given those that are.
        deadline: Time of `time.monotonic()` after which no trial begins; None for no limit.
        progress: Is called with a line of text while the process waits.
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
        """Runs trials until the study has as many as are wanted, or the deadline has passed."""
        self._look_after(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        with self._heartbeat:
            while (trial := self._next()) is not None:
                self._run(trial, objective)

    def _run(self, trial: optuna.Trial, objective: Callable[[optuna.Trial], Values]) -> None:
        try:
            values = objective(trial)
            self._finish(trial, values=values)
        except UpdateFinishedTrialError:  # this process was taken for dead, and another one ran the trial
            return
        except BaseException:  # also an interrupt: others need not wait until this process counts as dead
            with suppress(Exception):  # the first error is the one to report
                self._finish(trial, state=TrialState.FAIL)
            raise

    def _finish(self, trial: optuna.Trial, *, values: Values | None = None, state: TrialState | None = None) -> None:
        self._heartbeat.number = None
        with suppress(UpdateFinishedTrialError):  # another process may finish it at this moment
            self.study.tell(trial, values, state, skip_if_finished=True)

    def _next(self) -> optuna.Trial | None:
        """Returns a trial to run, as soon as there is one; None if enough are completed or the deadline has passed."""
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
        """Returns whether the trials that completed, or began before this one, are fewer than are wanted."""
        trials = self.study.get_trials(deepcopy=False)
        states = Counter(t.state for t in trials if t.state is TrialState.COMPLETE or t.number < number)
        taken = states[TrialState.COMPLETE] + states[TrialState.RUNNING] + states[TrialState.WAITING]
        completed = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        return taken < self._wanted(completed)

    def _wait(self, running: Sequence[FrozenTrial]) -> None:
        """Waits a moment for other processes to complete their trials, and looks for dead ones."""
        if not self._waited:
            self._waited = True
            self._progress(f"waiting for {len(running)} trials that other processes have begun")
        self._look_after(running)
        time.sleep(POLL_SECONDS)

    def _look_after(self, running: Sequence[FrozenTrial]) -> None:
        """Makes optuna retry the trials of dead processes, which are those whose heartbeats stopped.

        A process that died at once left a trial without any heartbeat. The trial gets one here, so that it goes stale.
        """
        numbers = {trial.number for trial in running}
        for number in numbers - self._seen:
            self._heartbeat.begin(number)
        self._seen |= numbers
        optuna.storages.fail_stale_trials(self.study)


class _Heartbeat:
    """Records heartbeats in the database while this process works on a trial, from a thread of its own.

    Optuna does so in `Study.optimize` from the start of each trial. Here most trials take milliseconds, and only those
    that take longer than `HEARTBEAT_SECONDS` need a heartbeat. `number` is that of the current trial, or None.
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
        """Records a first heartbeat for a trial that has none; an earlier one is left as it is."""
        if self._storage is None:
            return
        query = text("SELECT 1 FROM trial_heartbeats WHERE trial_id = :id")
        with self._storage.engine.connect() as connection:
            is_known = connection.execute(query, {"id": self._id_of(number)}).first() is not None
        if not is_known:
            self.beat(number)

    def beat(self, number: int) -> None:
        """Records that the process of a trial is alive now."""
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
                continue  # the trial itself will fail by the same problem, and report it
        self._storage.remove_session()

"""A study is complete when it has as many completed trials as are wanted, whoever runs them and whatever fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from planner.search.studies import shared, storage
from planner.search.studies.shared import SharedStudy
from planner.search.studies.storage import open_storage

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

COMPLETE, RUNNING, FAIL = TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "POLL_SECONDS", 0.01)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[RDBStorage]:
    with open_storage(f"sqlite:///{tmp_path / 'study.db'}") as opened:
        assert opened is not None
        yield opened


def wanted(number: int) -> Callable[[Sequence[FrozenTrial]], int]:
    return lambda completed: number


def objective(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0.0, 1.0)


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def run(study: optuna.Study, number: int, deadline: float | None = None, **options: Any) -> list[str]:
    """What is told."""
    said: list[str] = []
    kept = options.get("kept")
    SharedStudy(study, kept, wanted(number), deadline, said.append).run(options.get("objective", objective))
    return said


def test_trials_run_until_as_many_are_completed_as_are_wanted() -> None:
    study = optuna.create_study()
    assert run(study, 3) == []
    assert states(study) == [COMPLETE] * 3
    run(study, 3)
    assert states(study) == [COMPLETE] * 3
    run(study, 5)
    assert states(study) == [COMPLETE] * 5
    assert len({trial.value for trial in study.trials}) == 5


def test_how_many_are_wanted_may_depend_on_those_that_are_completed() -> None:
    study = optuna.create_study()
    SharedStudy(study, None, lambda completed: 2 if len(completed) < 2 else 0, None, print).run(objective)
    assert states(study) == [COMPLETE] * 2


def test_after_the_deadline_no_trial_begins() -> None:
    study = optuna.create_study()
    run(study, 3, deadline=time.monotonic() - 1)
    assert states(study) == []
    run(study, 3, deadline=time.monotonic() + 600)
    assert states(study) == [COMPLETE] * 3


def test_failed_trials_do_not_count() -> None:
    study = optuna.create_study()
    study.tell(study.ask(), state=FAIL)
    run(study, 2)
    assert states(study) == [FAIL, COMPLETE, COMPLETE]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_ends_the_run_and_gives_its_trial_back(error: BaseException) -> None:
    def fails(trial: optuna.Trial) -> float:
        if trial.number == 1:
            raise error
        return 1.0

    study = optuna.create_study()
    with pytest.raises(type(error)):
        run(study, 3, objective=fails)
    assert states(study) == [COMPLETE, FAIL]


def test_a_trial_that_another_process_has_finished_is_left_as_it_is() -> None:
    def overtaken(trial: optuna.Trial) -> float:
        if trial.number == 0:
            trial.study.tell(trial.number, 7.0)
        return 1.0

    study = optuna.create_study()
    run(study, 2, objective=overtaken)
    assert [trial.value for trial in study.trials] == [7.0, 1.0]


def test_what_others_have_begun_is_waited_for_and_that_is_told_once() -> None:
    study = optuna.create_study()
    others = [study.ask(), study.ask()]
    looks: list[int] = []

    def finish_others(completed: Sequence[FrozenTrial]) -> int:
        looks.append(len(completed))
        if len(looks) == 4:
            study.tell(others[0], 1.0)
        if len(looks) == 8:
            study.tell(others[1], 1.0)
        return 2

    said: list[str] = []
    SharedStudy(study, None, finish_others, None, said.append).run(objective)
    assert said == ["waiting for 2 trials that other processes have begun"]
    assert states(study) == [COMPLETE, COMPLETE]
    assert looks[:4] == [0, 0, 0, 0]


def test_a_trial_that_comes_too_late_is_withdrawn() -> None:
    """Between the look at the study and the new trial, another process has begun one."""
    study = optuna.create_study()
    ask = study.ask
    others: list[optuna.Trial] = []

    def slow_ask() -> optuna.Trial:
        if not others:
            others.append(ask())
        return ask()

    study.ask = slow_ask  # type: ignore[method-assign]
    shares = SharedStudy(study, None, wanted(1), None, lambda _: study.tell(others[0], 1.0))
    shares.run(objective)
    assert states(study) == [COMPLETE, FAIL]


def test_of_trials_that_began_at_once_the_first_keeps_its_place() -> None:
    study = optuna.create_study()
    mine = study.ask()
    later = study.ask()
    shares = SharedStudy(study, None, wanted(1), None, lambda _: None)
    assert shares._is_own(mine.number)
    assert not shares._is_own(later.number)
    study.tell(later, 1.0)  # completed: there is no place left
    assert not shares._is_own(mine.number)
    assert SharedStudy(study, None, wanted(2), None, lambda _: None)._is_own(mine.number)


def test_a_trial_that_waits_to_run_again_takes_a_place() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5})
    shares = SharedStudy(study, None, wanted(1), None, lambda _: None)
    assert not shares._is_own(1)
    assert shares._is_own(0)
    run(study, 2)
    assert states(study) == [COMPLETE, COMPLETE]
    assert study.trials[0].params == {"x": 0.5}


# --- in a database ---


def heartbeats(database: RDBStorage) -> int:
    with database.engine.connect() as connection:
        return int(connection.execute(text("SELECT COUNT(*) FROM trial_heartbeats")).scalar_one())


def test_in_a_database_trials_are_completed_as_in_memory(database: RDBStorage) -> None:
    study = optuna.create_study(storage=database, study_name="s")
    run(study, 4, kept=database)
    assert states(study) == [COMPLETE] * 4
    assert heartbeats(database) == 0  # they were too short for one


def test_a_trial_of_a_process_that_died_at_once_gets_a_heartbeat_and_runs_again(
    database: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(storage=database, study_name="s")
    study.ask()
    monkeypatch.setattr(database, "grace_period", 1)
    run(study, 2, kept=database, deadline=time.monotonic() + 60)
    assert states(study) == [FAIL, COMPLETE, COMPLETE]
    assert heartbeats(database) == 1


def test_whoever_sees_a_trial_keeps_the_heartbeat_that_it_has(database: RDBStorage) -> None:
    study = optuna.create_study(storage=database, study_name="s")
    trial = study.ask()
    beats = []
    for _ in range(2):
        run(study, 1, kept=database, deadline=time.monotonic() - 1)
        with database.engine.connect() as connection:
            beats.append(connection.execute(text("SELECT heartbeat FROM trial_heartbeats")).scalar_one())
    assert beats[0] == beats[1]
    assert (heartbeats(database), states(study)) == (1, [RUNNING])
    study.tell(trial, 1.0)


def test_a_trial_that_takes_long_tells_that_it_is_alive(database: RDBStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(storage=database, study_name="s")
    monkeypatch.setattr(shared, "HEARTBEAT_SECONDS", 0.01)
    deadline, others, kinds = time.monotonic() + 30, set(threading.enumerate()), set[bool]()

    def waits_for_a_heartbeat(trial: optuna.Trial) -> float:
        while heartbeats(database) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        kinds.update(thread.daemon for thread in set(threading.enumerate()) - others)
        return float(heartbeats(database))

    run(study, 1, kept=database, objective=waits_for_a_heartbeat)
    assert study.trials[0].value == 1.0
    assert kinds == {True}  # a daemon, which keeps no process from ending


def test_heartbeats_are_whole_seconds_and_a_process_is_given_several_before_it_counts_as_dead() -> None:
    assert (storage.HEARTBEAT_SECONDS, storage.GRACE_SECONDS, storage.RETRIES) == (1, 5, 3)

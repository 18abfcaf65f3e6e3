"""Implements the engine that samples: each trial of an optuna study is one strategy, solved for its micro-batch.

The space is defined by running: a trial suggests the choice of an axis, and then only the options that refine this
choice. A strategy that does not fit violates a constraint by the GiB that are missing; one that cannot run, by
`CANNOT_RUN`.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.search.bulk import add_missing
from planner.search.candidate import Candidate, Solver
from planner.search.engine import EngineError, EngineSettings, Found, Progress
from planner.search.ranking import Ranking
from planner.search.samplers import EveryStrategy, sampler_of
from planner.search.shared import SharedStudy
from planner.search.storage import open_storage
from planner.search.suggest import Suggestion, suggested
from planner.search.trials import Trial, TrialRunner, attributes, front, missing_gib, objectives, score
from strategies import Chain, Space

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

CONSTRAINT = "GiB missing"
"""Name of the constraint, which a trial violates if it is above 0."""

OBJECTIVES = {"effective batch": "maximize", "tokens per second": "maximize", "headroom": "maximize"}
"""Objectives of samplers that look for the Pareto front, with their directions; other samplers maximize `score`."""

MOST_WRITTEN = 5_000
"""Most candidates that the exhaustive engine writes to a study, best first."""


def search(space: Space, solver: Solver, settings: EngineSettings, progress: Progress = lambda _: None) -> Found:
    """Tries strategies of a space until the study has enough completed trials, or the time is over.

    Trials that earlier runs and other processes completed count, and their strategies are part of the answer.

    Args:
        space: The strategies to sample from.
        solver: Solves each strategy for its micro-batch.
        settings: Sampler, number of trials, time limit, seed and storage.
        progress: Is called with a line of text from time to time.

    Raises:
        EngineError: The storage cannot be used, the sampler needs a package that is not installed, or the space is too
            large for it.
    """
    start = time.perf_counter()
    space = space.divisible(solver.cluster)
    deadline = time.monotonic() + settings.timeout_seconds if settings.timeout_seconds is not None else None
    runner = TrialRunner(space, solver, fills=settings.sampler.facts.is_multi_objective)
    with _quiet(), open_storage(settings.storage) as storage:
        study = _study(space, solver, settings, storage)
        shared = SharedStudy(study, storage, _wanted(study, settings), deadline, progress)
        shared.run(_Objective(runner, settings, progress))
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = TrialRunner(space, solver, fills=runner.fills, known=runner)
    for trial in completed:  # in the order of their numbers, so that every process gives the same answer
        found.of(Suggestion(trial.params))
    candidates = found.candidates
    if settings.sampler.facts.is_multi_objective:
        candidates = list(front(candidates, solver))
    seconds = time.perf_counter() - start
    tried = tuple(Chain(c.strategy) for c in found.candidates)
    return Found(Ranking.of(candidates), found.num_strategies, found.rejected, seconds, len(completed), tried)


def trials_until(space: Space, solver: Solver, settings: EngineSettings, wanted: float) -> int | None:
    """Returns how many trials a single-objective study in memory takes to reach a score, or None if it does not."""

    def missing(completed: Sequence[FrozenTrial]) -> int:
        reached = any(trial.value is not None and trial.value >= wanted for trial in completed)
        return len(completed) if reached else most(completed)

    with _quiet():
        study = _study(space, solver, settings, None)
        most = _wanted(study, settings)
        objective = _Objective(TrialRunner(space, solver, fills=False), settings, lambda _: None)
        SharedStudy(study, None, missing, None, lambda _: None).run(objective)
    return len(study.trials) if study.best_value >= wanted else None


def write(space: Space, solver: Solver, found: Found, settings: EngineSettings, progress: Progress) -> None:
    """Adds the best candidates of the exhaustive engine to a study as finished trials, unless it has them already.

    A run that is killed leaves a study with none or with all of them.

    Args:
        space: The space that was searched; it defines the trials' parameters.
        solver: Solver of the candidates.
        found: Answer of the exhaustive engine.
        settings: Storage and name of the study.
        progress: Is called with a line of text from time to time.

    Raises:
        EngineError: The storage cannot be used.
    """
    candidates = found.ranking.first(MOST_WRITTEN)
    with _quiet(), open_storage(settings.storage) as storage:
        study = _study(space, solver, settings, storage)
        assert storage is not None  # a study in memory would be gone
        trials = (_finished(space, solver, candidate) for candidate in candidates)
        progress(f"writing {len(candidates):,} candidates to the study")
        add_missing(storage, study.study_name, trials, lambda number: progress(f"{number:,} are written"))


def _finished(space: Space, solver: Solver, candidate: Candidate) -> FrozenTrial:
    params, distributions = suggested(space, solver.cluster.gpu, candidate.strategy)
    trial = Trial(candidate.strategy, candidate, None, missing_gib(candidate, solver))
    return optuna.create_trial(
        params=params,
        distributions=distributions,
        values=[score(candidate)],
        user_attrs=attributes(trial, solver),
        constraints={CONSTRAINT: trial.missing_gib},
    )


def _wanted(study: optuna.Study, settings: EngineSettings) -> Callable[[Sequence[FrozenTrial]], int]:
    """Returns a function that says how many trials the study needs, given those that are completed.

    It needs those that are asked for, or fewer if the sampler runs out of strategies.
    """
    sampler = study.sampler
    if isinstance(sampler, EveryStrategy):
        return lambda completed: min(settings.trials, len(completed) + sampler.num_left(completed))
    return lambda _: settings.trials


class _Objective:
    """Tries the strategy that a trial suggests, and reports the largest batch so far once a second."""

    def __init__(self, runner: TrialRunner, settings: EngineSettings, progress: Progress) -> None:
        self.runner, self.settings, self.progress = runner, settings, progress
        self.largest, self.told = 0, time.monotonic()

    def __call__(self, trial: optuna.Trial) -> Any:
        found = self.runner.of(Suggestion(trial))
        trial.set_constraint(CONSTRAINT, found.missing_gib)
        for name, value in attributes(found, self.runner.solver).items():
            trial.set_user_attr(name, value)
        self._report(trial, found)
        return _values(found, self.runner.solver, self.settings)

    def _report(self, trial: optuna.Trial, found: Trial) -> None:
        if found.candidate is not None:
            self.largest = max(self.largest, found.candidate.global_batch_size)
        if (now := time.monotonic()) - self.told >= 1:
            self.told = now
            self.progress(f"trial {trial.number + 1}, {self.settings.trials} wanted; largest batch {self.largest}")


def _values(found: Trial, solver: Solver, settings: EngineSettings) -> Any:
    if not settings.sampler.facts.is_multi_objective:
        return score(found.candidate) if found.candidate is not None else 0.0
    return objectives(found.candidate, solver) if found.candidate is not None else (0.0, 0.0, -found.missing_gib)


def _study(space: Space, solver: Solver, settings: EngineSettings, storage: RDBStorage | None) -> optuna.Study:
    """Returns a new study, or the one of that name in the storage."""
    is_front = settings.sampler.facts.is_multi_objective
    directions = list(OBJECTIVES.values()) if is_front else ["maximize"]
    sampler = sampler_of(settings.sampler, settings.seed, space, solver.cluster.gpu)
    study = optuna.create_study(
        storage=storage,
        sampler=sampler,
        study_name=settings.study if storage is not None else None,
        directions=directions,  # type: ignore[arg-type]  # literals, as the signature spells them
        load_if_exists=True,
    )
    if [direction.name.lower() for direction in study.directions] != directions:
        raise EngineError(f"study {settings.study!r} was made for other objectives", "give another --storage")
    study.set_metric_names(list(OBJECTIVES) if is_front else ["effective batch"])
    return study


_quiet_users = 0
_quiet_lock = threading.Lock()
_quiet_before: tuple[int, list[Any]] = 0, []


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences optuna's log of every trial and its experimental warnings while any thread is in this context."""
    global _quiet_users, _quiet_before
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_before = optuna.logging.get_verbosity(), list(warnings.filters)
            optuna.logging.set_verbosity(logging.ERROR)
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                verbosity, filters = _quiet_before
                optuna.logging.set_verbosity(verbosity)
                warnings.filters[:] = filters  # type: ignore[index]  # a list, typed as a sequence

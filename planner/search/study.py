"""The engine that samples: an optuna study, one trial a strategy, each solved exactly for its micro-batch.

The space is defined by running: a trial is asked for the choices of an axis, and then only for the options that refine
what it chose. What cannot run or does not fit breaks a constraint by as many GiB as are missing.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from planner.search.candidate import Solver
from planner.search.engine import EngineError, EngineSettings, Found, Progress
from planner.search.ranking import Ranking
from planner.search.suggest import Suggestion, suggested
from planner.search.tries import Trial, Tries, attributes, front, missing_gib, objectives, score
from strategies import Sampler, Space

if TYPE_CHECKING:  # optuna takes a quarter of a second, and is imported when a study is asked for
    import optuna

CONSTRAINT = "GiB missing"

OBJECTIVES = {"effective batch": "maximize", "tokens per second": "maximize", "headroom": "maximize"}
"""Of samplers that look for a front; the others maximize `score`."""

MOST_WRITTEN = 5_000
"""Candidates that the exhaustive engine writes to a study, best first."""


def search(space: Space, solver: Solver, settings: EngineSettings, progress: Progress = lambda _: None) -> Found:
    """Tries strategies of a space until the trials or the time are used up; what a storage kept of them counts.

    Raises:
        EngineError: a storage that cannot be used.
        ContradictionError: a sampler that needs what is not installed.
    """
    start = time.perf_counter()
    tries = Tries(space, solver, fills=settings.sampler.facts.is_multi_objective)
    with _quiet():
        study = _study(settings)
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.values:
                tries.of(Suggestion(trial.params))
        done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        if done < settings.trials:
            study.optimize(
                _objective(tries, settings),
                n_trials=settings.trials - done,
                timeout=settings.timeout_seconds,
                callbacks=[_Reports(settings.trials, progress)],
            )
        num_trials = len(study.trials)
    candidates = tries.candidates
    if settings.sampler.facts.is_multi_objective:
        candidates = list(front(candidates, solver))
    return Found(Ranking.of(candidates), tries.num_strategies, tries.rejected, time.perf_counter() - start, num_trials)


def trials_until(space: Space, solver: Solver, settings: EngineSettings, wanted: float) -> int | None:
    """How many trials a study of one objective takes to reach a score; None if it does not."""

    def stop(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.value is not None and trial.value >= wanted:
            study.stop()

    with _quiet():
        study = _study(settings)
        objective = _objective(Tries(space, solver, fills=False), settings)
        study.optimize(objective, n_trials=settings.trials, callbacks=[stop])
    return len(study.trials) if study.best_value >= wanted else None


def _objective(tries: Tries, settings: EngineSettings) -> Callable[[optuna.Trial], Any]:
    def objective(trial: optuna.Trial) -> Any:
        found = tries.of(Suggestion(trial))
        trial.set_constraint(CONSTRAINT, found.missing_gib)
        for name, value in attributes(found, tries.solver).items():
            trial.set_user_attr(name, value)
        return _values(found, tries.solver, settings)

    return objective


class _Reports:
    """Tells of the largest batch so far, once a second."""

    def __init__(self, trials: int, progress: Progress) -> None:
        self.trials, self.progress = trials, progress
        self.largest, self.told = 0.0, time.monotonic()

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        self.largest = max(self.largest, *trial.values[:1])
        if (now := time.monotonic()) - self.told >= 1:
            self.told = now
            self.progress(f"trial {trial.number + 1} of {self.trials}, largest effective batch {int(self.largest)}")


def write(space: Space, solver: Solver, found: Found, settings: EngineSettings) -> None:
    """The best candidates of the exhaustive engine as finished trials of a study.

    Raises EngineError if the storage cannot be used.
    """
    import optuna

    with _quiet():
        study = _study(settings)
        if study.get_trials(deepcopy=False):  # of the same question, answered before
            return
        trials = []
        for candidate in found.ranking.first(MOST_WRITTEN):
            params, distributions = suggested(space, solver.cluster.gpu, candidate.strategy)
            trial = Trial(candidate.strategy, candidate, None, missing_gib(candidate, solver))
            trials.append(
                optuna.create_trial(
                    params=params,
                    distributions=distributions,
                    values=[score(candidate)],
                    user_attrs=attributes(trial, solver),
                    constraints={CONSTRAINT: trial.missing_gib},
                )
            )
        study.add_trials(trials)


def _values(found: Trial, solver: Solver, settings: EngineSettings) -> Any:
    if not settings.sampler.facts.is_multi_objective:
        return score(found.candidate) if found.candidate is not None else 0.0
    return objectives(found.candidate, solver) if found.candidate is not None else (0.0, 0.0, -found.missing_gib)


def _study(settings: EngineSettings) -> optuna.Study:
    """A new study, or the one of that name in the storage, whose trials that were cut off count as failed."""
    import optuna

    sampler, is_front = settings.sampler, settings.sampler.facts.is_multi_objective
    directions = list(OBJECTIVES.values()) if is_front else ["maximize"]
    try:
        study = optuna.create_study(
            storage=_storage(settings.storage),
            sampler=_sampler(sampler, settings.seed),
            study_name=settings.study if settings.storage else None,
            directions=directions,  # type: ignore[arg-type]  # literals, as the signature spells them
            load_if_exists=True,
        )
    except EngineError:
        raise
    except Exception as error:  # whatever the database's driver objects to
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"storage {settings.storage!r} cannot be used: {reason}", "sqlite:///study.db") from None
    if [d.name.lower() for d in study.directions] != directions:
        raise EngineError(f"study {settings.study!r} was made for other objectives", "give another --storage")
    study.set_metric_names(list(OBJECTIVES) if is_front else ["effective batch"])
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _storage(url: str | None) -> str | optuna.storages.BaseStorage | None:
    """SQLite may leave writing to the system: what is lost then is lost with the machine, not with a killed process."""
    if url is None or not url.startswith("sqlite"):
        return url
    from optuna.storages import RDBStorage
    from sqlalchemy import event

    storage = RDBStorage(url)

    @event.listens_for(storage.engine, "connect")
    def leave_to_the_system(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    storage.engine.dispose()  # connections that were made before
    return storage


def _sampler(sampler: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    if sampler is Sampler.NSGA2:
        return samplers.NSGAIISampler(seed=seed)
    if sampler is Sampler.RANDOM:
        return samplers.RandomSampler(seed=seed)
    if sampler is Sampler.BRUTE_FORCE:
        return samplers.BruteForceSampler(seed=seed)
    if sampler is Sampler.GP:
        return _gaussian_process(seed)
    return samplers.TPESampler(seed=seed, multivariate=True, group=True)


def _gaussian_process(seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    try:
        import scipy  # noqa: F401  # which the sampler imports when it first has to sample
        import torch  # noqa: F401
    except ImportError as error:
        raise EngineError(f"sampler gp needs {error.name}", "pip install 'training-planner[gp]'") from None
    return samplers.GPSampler(seed=seed, deterministic_objective=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without optuna's log of every trial and its warnings of what is experimental."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)

"""Implements the engine that samples: each trial of an optuna study is one strategy, solved for its micro-batch.

The space is defined by running: a trial suggests the choice of an axis, and then only the options that refine this
choice. A strategy that does not fit violates a constraint by the GiB that are missing; one that cannot run, by
`CANNOT_RUN`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.progress import Advance
from planner.search.candidate import Candidate
from planner.search.engine import EngineError, EngineSettings, Found, Progress
from planner.search.order import Rank
from planner.search.ranking import Ranking
from planner.search.solver import Solver
from planner.search.studies.bulk import add_missing
from planner.search.studies.objectives import (
    BATCH,
    HEADROOM,
    SPEED,
    missing_gib,
    names_of,
    objective_of,
    objectives,
    readable,
)
from planner.search.studies.quiet import quiet
from planner.search.studies.samplers import EveryStrategy, sampler_of
from planner.search.studies.shared import SharedStudy
from planner.search.studies.storage import open_storage
from planner.search.studies.suggest import Suggestion, suggested
from planner.search.studies.trials import Trial, TrialRunner, attributes, front
from strategies import Chain, Space

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

CONSTRAINT = "GiB missing"
"""Name of the constraint, which a trial violates if it is above 0."""

BEFORE_SECONDS, BETWEEN_SECONDS = 1.0, 0.2
"""Seconds of a search before progress is told, and between two times of telling."""

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
    with quiet(), open_storage(settings.storage) as storage:
        study = _study(space, solver, settings, storage)
        shared = SharedStudy(study, storage, _wanted(study, settings), deadline, progress)
        objective = _Objective(runner, settings, progress)
        shared.run(objective)
        objective.end()
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = TrialRunner(space, solver, fills=runner.fills, known=runner)
    for trial in completed:  # in the order of their numbers, so that every process gives the same answer
        found.of(Suggestion(trial.params))
    candidates = found.candidates
    if settings.sampler.facts.is_multi_objective:
        candidates = front(candidates)
    seconds = time.perf_counter() - start
    tried = tuple(Chain(c.strategy) for c in found.candidates)
    return Found(Ranking.of(candidates), found.num_strategies, found.rejected, seconds, len(completed), tried)


def trials_until(space: Space, solver: Solver, settings: EngineSettings, wanted: Rank) -> int | None:
    """Returns how many trials a study in memory takes to find a candidate of a rank, or None if it does not."""
    runner = TrialRunner(space, solver, fills=False)

    def is_found() -> bool:
        return any(candidate.rank <= wanted for candidate in runner.candidates)

    with quiet():
        study = _study(space, solver, settings, None)
        most = _wanted(study, settings)
        shared = SharedStudy(
            study, None, lambda completed: len(completed) if is_found() else most(completed), None, lambda _: None
        )
        shared.run(_Objective(runner, settings, lambda _: None))
    return len(study.trials) if is_found() else None


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
    with quiet(), open_storage(settings.storage) as storage:
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
        values=[readable(objectives(candidate, solver))[objective_of(solver)]],
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
    """Tries the strategy that a trial suggests, and tells of progress and of the best so far several times a second."""

    def __init__(self, runner: TrialRunner, settings: EngineSettings, progress: Progress) -> None:
        self.runner, self.settings, self.progress = runner, settings, progress
        self.best: Candidate | None = None
        self.told, self.begun = 0.0, time.monotonic()

    def __call__(self, trial: optuna.Trial) -> list[float]:
        found = self.runner.of(Suggestion(trial))
        trial.set_constraint(CONSTRAINT, found.missing_gib)
        for name, value in attributes(found, self.runner.solver).items():
            trial.set_user_attr(name, value)
        self._report(trial, found)
        return _values(found, self.runner.solver, self.settings)

    def _report(self, trial: optuna.Trial, found: Trial) -> None:
        if found.candidate is not None:
            self.best = min(found.candidate, self.best or found.candidate, key=lambda candidate: candidate.rank)
        now, wanted = time.monotonic(), self.settings.trials
        if now - self.begun >= BEFORE_SECONDS and now - self.told >= BETWEEN_SECONDS:
            self.told = now
            best = "nothing fits yet"
            if self.best is not None:
                seen = readable(objectives(self.best, self.runner.solver))
                best = f"best: batch {seen[BATCH]:,.0f}, {seen[SPEED]:,.0f} tokens/s"
            done = min(trial.number + 1, wanted)
            self.progress(Advance(f"trial {done:,} of {wanted:,}, {best}", done, wanted))

    def end(self) -> None:
        """Tells that no trial follows, if anything was told."""
        if self.told:
            self.progress(Advance("all trials are done", 0, 0))


def _values(found: Trial, solver: Solver, settings: EngineSettings) -> list[float]:
    """Returns the values of a trial's objectives; of one that does not fit, nothing but what is missing."""
    none = {BATCH: 0.0, SPEED: 0.0, HEADROOM: -found.missing_gib}
    values = readable(objectives(found.candidate, solver) if found.candidate is not None else none)
    return [values[name] for name in names_of(solver, settings)]


def _study(space: Space, solver: Solver, settings: EngineSettings, storage: RDBStorage | None) -> optuna.Study:
    """Returns a new study, or the one of that name in the storage."""
    names = names_of(solver, settings)
    sampler = sampler_of(settings.sampler, settings.seed, space, solver.cluster.gpu)
    study = optuna.create_study(
        storage=storage,
        sampler=sampler,
        study_name=settings.study if storage is not None else None,
        directions=["maximize" for _ in names],
        load_if_exists=True,
    )
    if study.metric_names not in (None, list(names)) or len(study.directions) != len(names):
        raise EngineError(f"study {settings.study!r} was made for other objectives", "give another --storage")
    study.set_metric_names(list(names))
    for name, value in settings.about.items():
        if study.user_attrs.get(name) != value:
            study.set_user_attr(name, value)
    return study

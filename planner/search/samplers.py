"""Samplers of optuna by name, each drawing what the seed and the number of a trial say.

A trial's draws depend on its number and not on the process that makes it: a study that is resumed goes on as if it had
not been interrupted, and processes that work on one study at the same time draw different strategies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from optuna import Study, samplers
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from hardware import GPU
from planner.extras import install_hint
from planner.search.engine import EngineError
from planner.search.suggest import suggested
from strategies import Sampler, Space, Strategy

MOST_COMBINATIONS: Final = 100_000
"""More strategies than that are not tried one by one in a study, whose trials take milliseconds each."""

Distributions = dict[str, BaseDistribution]

_KNOWN: Final = ("_search_space", "_search_space_group", "_intersection_search_space", "_group_decomposed_search_space")
"""What samplers have found out about the parameters of a study so far, whatever their seed: a new one would look
through all trials again (optuna 5.0, samplers/_ga, _tpe, _gp)."""


class SeededByTrial(samplers.BaseSampler):
    """A sampler made anew for each trial. `make`: the sampler of a seed; what it must know of earlier trials, it reads
    from the study."""

    def __init__(self, make: Callable[[int], samplers.BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._of_trial = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        before, self._of_trial = self._of_trial, self._make(_seed_of(self._seed, trial.number))
        for name in _KNOWN:
            if hasattr(before, name):
                setattr(self._of_trial, name, getattr(before, name))
        self._of_trial.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        return self._of_trial.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        return self._of_trial.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of_trial.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._of_trial.after_trial(study, trial, state, values)


class EveryStrategy(samplers.BaseSampler):
    """Proposes each strategy of a space once, in an order that the seed decides.

    optuna's own sampler of that kind fails in a study with a trial that was cut off before it had all its parameters
    (optuna 5.0, samplers/_brute_force.py, `set_leaf`), as a killed process leaves them.

    Raises EngineError if the space has too many strategies for that.
    """

    def __init__(self, space: Space, gpu: GPU, seed: int) -> None:
        self._space, self._gpu = space, gpu
        self._strategies = _listed(space, gpu)
        Random(seed).shuffle(self._strategies)
        self._proposed: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Chooses for the trial: by its number, which no other trial has, the first strategy that is not tried yet."""
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        tried = {_key(t.params) for t in others if t.state in (TrialState.COMPLETE, TrialState.RUNNING)}
        count, first = len(self._strategies), trial.number % len(self._strategies)
        for place in range(first, first + count):
            self._proposed, distributions = suggested(self._space, self._gpu, self._strategies[place % count])
            if _key(self._proposed) not in tried:
                break
        return distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        return self._proposed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of a trial that runs again, whose first parameters another process chose, the others."""
        sampler = samplers.RandomSampler(seed=_seed_of(0, trial.number))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def num_left(self, completed: Sequence[FrozenTrial]) -> int:
        """How many strategies no completed trial has tried."""
        return len(self._strategies) - len({_key(trial.params) for trial in completed})


def sampler_of(sampler: Sampler, seed: int, space: Space, gpu: GPU) -> samplers.BaseSampler:
    """The sampler of that name for a space.

    Raises EngineError: it needs a package that is not installed, or the space is too large for it.
    """
    if sampler is Sampler.BRUTE_FORCE:
        return EveryStrategy(space, gpu, seed)
    if sampler is Sampler.GP:
        _check_gaussian_process()
    return SeededByTrial(_MAKERS[sampler], seed)


_MAKERS: Final[Mapping[Sampler, Callable[[int], samplers.BaseSampler]]] = {
    Sampler.TPE: lambda seed: samplers.TPESampler(seed=seed, multivariate=True, group=True),
    Sampler.NSGA2: lambda seed: samplers.NSGAIISampler(seed=seed),
    Sampler.GP: lambda seed: samplers.GPSampler(seed=seed, deterministic_objective=True),
    Sampler.RANDOM: lambda seed: samplers.RandomSampler(seed=seed),
}


def _seed_of(seed: int, number: int) -> int:
    """A seed of 32 bits, as numpy takes them, that near numbers do not have in common."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "big")


def _listed(space: Space, gpu: GPU) -> list[Strategy]:
    strategies: list[Strategy] = []
    for strategy in space.strategies(gpu):
        if len(strategies) == MOST_COMBINATIONS:
            raise EngineError(
                f"sampler brute-force would try more than {MOST_COMBINATIONS:,} strategies",
                "--sampler tpe, or --engine exhaustive, which decides them without trials",
            )
        strategies.append(strategy)
    return strategies


def _key(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(params.items())


def _check_gaussian_process() -> None:
    try:
        import scipy  # noqa: F401  # which the sampler imports when it first has to sample
        import torch  # noqa: F401
    except ImportError as error:
        raise EngineError(f"sampler gp needs {error.name}", install_hint("gp")) from None

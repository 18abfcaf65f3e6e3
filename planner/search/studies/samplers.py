"""Makes samplers of optuna by name, whose draws depend only on the seed and on the number of the trial.

They do not depend on the process that runs the trial. So a study that is resumed goes on as if it had not been
interrupted, and processes that work on one study at the same time draw different strategies.
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
from planner.search.studies.suggest import suggested
from strategies import Sampler, Space, Strategy

MOST_COMBINATIONS: Final = 100_000
"""Most strategies that brute force tries one by one; each trial takes milliseconds."""

Distributions = dict[str, BaseDistribution]

_KNOWN: Final = ("_search_space", "_search_space_group", "_intersection_search_space", "_group_decomposed_search_space")
"""Attributes in which samplers cache what they know of a study's parameters, regardless of their seed. A new sampler
without them would look through all trials again (optuna 5.0, samplers/_ga, _tpe, _gp)."""


class SeededByTrial(samplers.BaseSampler):
    """Makes a new sampler for each trial, seeded by the seed and the trial's number.

    Args:
        make: Returns the sampler of a seed. It must read all that it needs of earlier trials from the study.
        seed: Seed of the whole study.
    """

    def __init__(self, make: Callable[[int], samplers.BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._of_trial = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Makes the trial's sampler, which takes over the caches of the one before."""
        before, self._of_trial = self._of_trial, self._make(_seed_of(self._seed, trial.number))
        for name in _KNOWN:
            if hasattr(before, name):
                setattr(self._of_trial, name, getattr(before, name))
        self._of_trial.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Delegates to the trial's sampler."""
        return self._of_trial.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        """Delegates to the trial's sampler."""
        return self._of_trial.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegates to the trial's sampler."""
        return self._of_trial.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Delegates to the trial's sampler."""
        self._of_trial.after_trial(study, trial, state, values)


class EveryStrategy(samplers.BaseSampler):
    """Proposes each strategy of a space once, in an order that the seed decides.

    Optuna's own brute-force sampler fails in a study with a trial that was cut off before it had all its parameters, as
    killed processes leave them (optuna 5.0, samplers/_brute_force.py, `set_leaf`).

    Raises:
        EngineError: The space has more than `MOST_COMBINATIONS` strategies.
    """

    def __init__(self, space: Space, gpu: GPU, seed: int) -> None:
        self._space, self._gpu = space, gpu
        self._strategies = _listed(space, gpu)
        Random(seed).shuffle(self._strategies)
        self._proposed: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Chooses the trial's strategy, and returns the distributions of its parameters.

        The search for a strategy that no trial has tried yet begins at the trial's number, which no other trial has.
        """
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        tried = {_key(t.params) for t in others if t.state in (TrialState.COMPLETE, TrialState.RUNNING)}
        count, first = len(self._strategies), trial.number % len(self._strategies)
        for place in range(first, first + count):
            self._proposed, distributions = suggested(self._space, self._gpu, self._strategies[place % count])
            if _key(self._proposed) not in tried:
                break
        return distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        """Returns the parameters of the strategy that was chosen."""
        return self._proposed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draws the missing parameters of a trial that runs again and has the first ones from another process."""
        sampler = samplers.RandomSampler(seed=_seed_of(0, trial.number))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def num_left(self, completed: Sequence[FrozenTrial]) -> int:
        """Returns how many strategies no completed trial has tried."""
        return len(self._strategies) - len({_key(trial.params) for trial in completed})


def sampler_of(sampler: Sampler, seed: int, space: Space, gpu: GPU) -> samplers.BaseSampler:
    """Returns the sampler with a name for a space.

    Raises:
        EngineError: It needs a package that is not installed, or the space is too large for it.
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
    """Returns a seed of 32 bits, as numpy takes it, that differs even for neighboring numbers."""
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
    """Returns what identifies a strategy: its parameters, in any order."""
    return frozenset(params.items())


def _check_gaussian_process() -> None:
    try:
        import scipy  # noqa: F401  # the sampler imports both when it first samples
        import torch  # noqa: F401
    except ImportError as error:
        raise EngineError(f"sampler gp needs {error.name}", install_hint("gp")) from None

"""Defines the settings and the answer that all engines share."""

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from hardware import PlannerError
from hardware.errors import shown
from planner.search.ranking import Ranking
from strategies import Chain, ContradictionError, Engine, Sampler

DEFAULT_TRIALS = 200
"""Default number of trials of a study; `benchmarks/engines.py` measures what is found within it."""

DOES_NOT_FIT = "does not fit into memory"
"""Reason of a strategy that can run but does not fit."""

LACKS_HOST_MEMORY = "does not fit into the host's memory"
"""Reason of one that would fit into the GPU's."""

MOST_TRIALS = 10**7
SECONDS_OF_A_YEAR = 365 * 24 * 3600
MOST_SEED = 2**32 - 1
"""Largest seed of numpy's generators, which the samplers draw from."""

Progress = Callable[[str], None]
"""Function that is called with a line of text on the state of a search."""


class Found(NamedTuple):
    """Holds the answer of an engine.

    Attributes:
        ranking: Feasible candidates, best first.
        num_strategies: Number of strategies that can run, or with a sampler, that were tried.
        rejected: Number of rejected strategies by reason.
        seconds: Time that the search took.
    """

    ranking: Ranking
    num_strategies: int
    rejected: Counter[str]
    seconds: float
    num_trials: int | None = None
    """Number of completed trials; None if nothing was sampled."""
    chains: tuple[Chain, ...] = ()
    """All strategies that can run, whether they fit or not; of a sampler, those that it found to fit."""


class EngineError(PlannerError):
    """Reports that an engine cannot run with its settings."""


class TooManyStrategiesError(EngineError):
    """Reports a space that would take the exhaustive engine too long.

    Args:
        strategies: Number of strategies that can run.
        number: Number of chains or combinations that would be decided one by one.
        most: Largest such number that the engine accepts.
    """

    def __init__(self, strategies: int, number: int, most: int) -> None:
        super().__init__(
            f"{strategies:,} strategies of this space can run here, and {number:,} would be decided one by one: the "
            f"exhaustive engine does so with {most:,} at most",
            "--engine optuna samples such a space; or narrow a range",
        )


class EngineSettings(NamedTuple):
    """Says which engine searches, and how.

    Attributes:
        engine: The engine.
        sampler: Sampler of the optuna engine.
        trials: Largest number of completed trials of a study, including those of earlier runs.
        timeout_seconds: Time after which no trial begins; None for no limit.
        seed: Makes the trials of a study repeatable.
        storage: URL of a database that keeps the study; the exhaustive engine writes its candidates to it.
    """

    engine: Engine = Engine.EXHAUSTIVE
    sampler: Sampler = Sampler.TPE
    trials: int = DEFAULT_TRIALS
    timeout_seconds: float | None = None
    seed: int = 0
    storage: str | None = None
    study: str = "planner"
    """Name of the study in the storage."""
    about: Mapping[str, Any] = MappingProxyType({})
    """What the study is about, such as model and machine, as its attributes in the storage."""

    @classmethod
    def of(
        cls,
        engine: str,
        *,
        sampler: str | None,
        trials: int | None,
        timeout: float | None,
        seed: int | None,
        storage: str | None,
    ) -> "EngineSettings":
        """Returns the settings for what a caller gives; None stands for the default.

        Args:
            engine: Name of the engine.
            sampler: Name of the sampler.
            trials: Number of trials, from 1.
            timeout: Seconds, above 0 and below a year.
            seed: Whole number from 0, of at most 32 bits.
            storage: URL of a database.

        Raises:
            InvalidChoiceError: There is no such engine or sampler.
            ContradictionError: An option of samplers is given for an engine that does not sample.
            EngineError: A value is of the wrong type or out of range.
        """
        chosen = Engine.parse(engine)
        sampling = {"sampler": sampler, "trials": trials, "timeout": timeout, "seed": seed}
        given = [name for name, value in sampling.items() if value is not None]
        if given and chosen is not Engine.OPTUNA:
            raise ContradictionError(f"{given[0]} is given, but {chosen} samples nothing", "add --engine optuna")
        if trials is not None and not _is_whole(trials, 1, MOST_TRIALS):
            raise EngineError(
                f"trials is {shown(trials)}, which is not a whole number from 1 to {MOST_TRIALS}",
                f"{DEFAULT_TRIALS} is usual",
            )
        if seed is not None and not _is_whole(seed, 0, MOST_SEED):
            raise EngineError(
                f"seed is {shown(seed)}, which is not a whole number from 0 to {MOST_SEED}", "0 is the default"
            )
        if timeout is not None and not _is_time(timeout):
            raise EngineError(
                f"timeout is {shown(timeout)}, which is no number of seconds above 0 and below a year", "--timeout 60"
            )
        if storage is not None and not isinstance(storage, str):
            raise EngineError(f"storage is {shown(storage)}, which is no URL", "storage='sqlite:///study.db'")
        return cls(
            chosen,
            Sampler.parse(sampler) if sampler is not None else Sampler.TPE,
            trials if trials is not None else DEFAULT_TRIALS,
            timeout,
            seed if seed is not None else 0,
            storage,
        )


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < SECONDS_OF_A_YEAR

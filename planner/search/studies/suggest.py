"""Maps a space of strategies to parameters of optuna: one for each option with more than one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hardware import GPU
from strategies import AXES, Space, Strategy

if TYPE_CHECKING:
    import optuna

FIRST = "finetuning"
"""Axis that is suggested first, since the default choices of other axes depend on it."""

FILLING = "share of the largest batch"
"""Parameter of samplers with several objectives, from 0 to 1: the place on a strategy's own front."""


class Suggestion:
    """Returns values of parameters, from a running trial or from a finished one.

    Args:
        source: The running trial, which samples the values, or the parameters of the finished one.
    """

    def __init__(self, source: optuna.Trial | Mapping[str, Any]) -> None:
        self.source = source

    def strategy(self, space: Space, gpu: GPU) -> Strategy:
        """Returns the strategy of the trial.

        A parameter of a finished trial whose value is no longer in the space gets the first value in the space.
        """
        return _walk(space, gpu, self._pick)

    def filling(self) -> float:
        """Returns the place on the strategy's own front, from its smallest batch at 0 to its largest at 1."""
        if isinstance(self.source, Mapping):
            return float(self.source.get(FILLING, 1.0))
        return self.source.suggest_float(FILLING, 0.0, 1.0)

    def _pick(self, name: str, values: Sequence[Any]) -> Any:
        texts = [spelled(value) for value in values]
        if isinstance(self.source, Mapping):
            text = self.source.get(name, texts[0])
        elif (step := _step(values)) is not None:
            text = self.source.suggest_int(name, values[0], values[-1], step=step)
        else:
            text = self.source.suggest_categorical(name, texts)
        return values[texts.index(text)] if text in texts else values[0]


def suggested(
    space: Space, gpu: GPU, strategy: Strategy
) -> tuple[dict[str, Any], dict[str, optuna.distributions.BaseDistribution]]:
    """Returns the parameters of a strategy, and the distribution of each, as a trial would suggest them."""
    from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

    said, params = strategy.to_options(), {}
    distributions: dict[str, BaseDistribution] = {}

    def pick(name: str, values: Sequence[Any]) -> Any:
        value = said[name.partition(" ")[0]]
        params[name], step = spelled(value), _step(values)
        distributions[name] = (
            CategoricalDistribution([spelled(v) for v in values])
            if step is None
            else IntDistribution(values[0], values[-1], step=step)
        )
        return value

    _walk(space, gpu, pick)
    return params, distributions


def spelled(value: Any) -> Any:
    """Returns a value as optuna stores a parameter: text or a number; names are joined by commas."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value) if isinstance(value, str) else value


def _walk(space: Space, gpu: GPU, pick: Any) -> Strategy:
    """Returns the strategy of the values that `pick` chooses for every option, those of fine-tuning first."""
    values: dict[str, Any] = {}
    for axis in (AXES[FIRST], *(axis for name, axis in AXES.items() if name != FIRST)):
        for option in axis.options:
            if option is axis.choices or option.refines(values):
                values[option.name] = _picked(space, gpu, option.name, values, pick)
    return Strategy.of(values)


def _picked(space: Space, gpu: GPU, option: str, values: Mapping[str, Any], pick: Any) -> Any:
    """Returns the only value of an option, or lets `pick` choose one for a parameter named after the option."""
    found = space.searched(option, gpu)
    name, method = (option, "") if "" in found else (f"{option} of {values[FIRST]}", str(values[FIRST]))
    choices = found[method]
    if all(isinstance(value, int) for value in choices):
        choices = tuple(sorted(choices))
    return choices[0] if len(choices) == 1 else pick(name, choices)


def _step(values: Sequence[Any]) -> int | None:
    """Returns the distance between whole numbers if it is the same for all neighbors, else None."""
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return None
    steps = {b - a for a, b in pairwise(values)}
    return steps.pop() if len(steps) == 1 else None

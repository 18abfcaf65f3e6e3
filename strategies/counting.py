"""Strategies counted without making each of them.

A rule is asked before anything is decided. What it reads is decided then, one value after the other, and what it does
not read is multiplied. Values of an option that make no difference to any rule are one class, of which one is asked. So
nobody has to declare which numbers matter: a new rule that reads one tells it apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from hardware import Cluster
from strategies.axis import Axis
from strategies.rules import RULES, Rule, exclusion
from strategies.strategy import AXES, Strategy
from strategies.undecided import Undecided, UndecidedError, watched

_AXES = tuple(AXES.values())
_PLACES = {option.name: place for place, axis in enumerate(_AXES) for option in axis.options}
"""Which field of a strategy an option is in."""

Class = tuple[Any, ...]
"""Values of an option that are not told apart; the first stands for all."""
Decided = Mapping[str, Class]


class Outcome(NamedTuple):
    """What a rule says of all strategies that have what is decided."""

    decided: Decided
    reason: str | None
    num_strategies: int


def outcomes(
    options: Callable[[str], Sequence[Any]], listed: Mapping[str, Sequence[Any]], cluster: Cluster
) -> Counter[str | None]:
    """How many strategies of a product exclude themselves on a cluster, by reason; under None, how many do not.

    Args:
        options: the values of every option.
        listed: the values of axes that are not the product of their options.
    """
    values = {
        option.name: listed[axis.name] if axis.name in listed else options(option.name)
        for axis in _AXES
        for option in (axis.options if axis.name not in listed else (axis.choices,))
    }
    product = _Product({option: [(value,) for value in of] for option, of in values.items()}, frozenset(listed))
    found: Counter[str | None] = Counter()
    for outcome in product.classified(cluster).outcomes(exclusion, cluster):
        found[outcome.reason] += outcome.num_strategies
    return found


class _Part(NamedTuple):
    """The field of a strategy as far as it is decided, and how many values that stands for."""

    value: Any
    size: int


class _Product:
    """The classes of every option, and of the axes that are `listed` as a whole."""

    def __init__(self, classes: Mapping[str, Sequence[Class]], listed: frozenset[str]) -> None:
        self._classes, self._listed = classes, listed
        self._sizes = {option: sum(map(len, of)) for option, of in classes.items()}

    def outcomes(self, rule: Rule, cluster: Cluster) -> Iterator[Outcome]:
        """What a rule says, each with as little decided as it needs."""
        asked: list[tuple[Decided, tuple[_Part, ...]]] = [({}, tuple(self._part(axis, {}) for axis in _AXES))]
        while asked:
            decided, parts = asked.pop()
            try:
                reason = rule(watched(Strategy(*(part.value for part in parts))), cluster)
            except UndecidedError as error:
                place = _PLACES[error.option]
                for one in reversed(self._classes[error.option]):  # the last is asked first
                    now = {**decided, error.option: one}
                    asked.append((now, (*parts[:place], self._part(_AXES[place], now), *parts[place + 1 :])))
            else:
                if number := prod(part.size for part in parts):
                    yield Outcome(decided, reason, number)

    def classified(self, cluster: Cluster) -> _Product:
        """The same with those values of an option together of which every rule says the same, whatever else is."""
        said: dict[tuple[str, Class], set[Any]] = defaultdict(set)
        for place, rule in enumerate(RULES):
            for decided, reason, _ in self.outcomes(rule, cluster):
                for option, one in decided.items():
                    others = frozenset(item for item in decided.items() if item[0] != option)
                    said[option, one].add((place, others, reason))
        classes: dict[str, Sequence[Class]] = {}
        for option, of in self._classes.items():
            alike: dict[frozenset[Any], list[Any]] = defaultdict(list)
            for one in of:
                alike[frozenset(said.get((option, one), ()))].extend(one)
            classes[option] = [tuple(values) for values in alike.values()]
        return _Product(classes, self._listed)

    def _part(self, axis: Axis, decided: Decided) -> _Part:
        """An axis as far as it is decided. Where all of its values are one class, it is."""
        classes = [decided[axis.name]] if axis.name in decided else self._classes[axis.name]
        size = sum(self._refined(axis, choice, decided) for one in classes for choice in one)
        if len(classes) != 1:
            return _Part(Undecided(axis.name), size)
        choice = classes[0][0]
        if axis.name in self._listed:
            return _Part(choice, size)
        said = {axis.name: choice}
        for option in axis.refining(choice):
            of = [decided[option.name]] if option.name in decided else self._classes[option.name]
            said[option.name] = of[0][0] if len(of) == 1 else Undecided(option.name)
        return _Part(watched(axis.value(said)), size)

    def _refined(self, axis: Axis, choice: Any, decided: Decided) -> int:
        """How many values a choice and what refines it make."""
        if axis.name in self._listed:
            return 1
        names = [option.name for option in axis.refining(choice)]
        return prod(len(decided[name]) if name in decided else self._sizes[name] for name in names)

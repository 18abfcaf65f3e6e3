"""Counts the strategies of a space by the rule that excludes them, without making each of them.

A rule is first called with all options undecided. Each option that it reads is then decided, one value after the other;
the numbers of values of the options that it does not read are multiplied. Values of an option that no rule tells apart
form one class, and only one of them is tried. What a rule reads is found out by calling it, and is declared nowhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from hardware import Cluster
from strategies.axis import Axis
from strategies.rules import RULES, Rule, exclusion
from strategies.spaces.undecided import Undecided, UndecidedError, watched
from strategies.strategy import AXES, Strategy

_AXES = tuple(AXES.values())
_PLACES = {option.name: place for place, axis in enumerate(_AXES) for option in axis.options}
"""Index of the strategy's field that an option belongs to."""

Class = tuple[Any, ...]
"""Values of an option that no rule tells apart; the first stands for all."""
Decided = Mapping[str, Class]
"""Class of each decided option, by the option's name."""


class Outcome(NamedTuple):
    """Holds the reason, or None, that a rule gives for all strategies that share the decided options."""

    decided: Decided
    reason: str | None
    num_strategies: int


def outcomes(
    options: Callable[[str], Sequence[Any]], listed: Mapping[str, Sequence[Any]], cluster: Cluster
) -> Counter[str | None]:
    """Counts the strategies of a product of options by the reason why they cannot run on a cluster.

    Args:
        options: Returns the values of an option, given its name.
        listed: Values of the axes that are given as a list, and not as the product of their options.
        cluster: The cluster that the strategies would run on.

    Returns:
        The number of strategies for each reason; those that can run are counted under None.
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
    """Holds a field of a strategy as far as it is decided, and the number of values that it stands for."""

    value: Any
    size: int


class _Product:
    """Holds classes of interchangeable values for every option; for an axis in `listed`, of its complete values."""

    def __init__(self, classes: Mapping[str, Sequence[Class]], listed: frozenset[str]) -> None:
        self._classes, self._listed = classes, listed
        self._sizes = {option: sum(map(len, of)) for option, of in classes.items()}

    def outcomes(self, rule: Rule, cluster: Cluster) -> Iterator[Outcome]:
        """Yields what a rule says, deciding only the options that it reads."""
        asked: list[tuple[Decided, tuple[_Part, ...]]] = [({}, tuple(self._part(axis, {}) for axis in _AXES))]
        while asked:
            decided, parts = asked.pop()
            try:
                reason = rule(watched(Strategy(*(part.value for part in parts))), cluster)
            except UndecidedError as error:
                place = _PLACES[error.option]
                for one in reversed(self._classes[error.option]):  # the end of the stack is asked first
                    now = {**decided, error.option: one}
                    asked.append((now, (*parts[:place], self._part(_AXES[place], now), *parts[place + 1 :])))
            else:
                if number := prod(part.size for part in parts):
                    yield Outcome(decided, reason, number)

    def classified(self, cluster: Cluster) -> _Product:
        """Returns the product with those values of an option in one class that every rule always treats alike."""
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
        """Returns an axis as far as it is decided; an option whose values form one class counts as decided."""
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
        """Returns how many values a choice and its refinements make."""
        if axis.name in self._listed:
            return 1
        names = [option.name for option in axis.refining(choice)]
        return prod(len(decided[name]) if name in decided else self._sizes[name] for name in names)

"""Finds the smallest sets of changes after which a strategy fits.

Sets of one change are tried; of larger ones, those that would fit if what changes save at each moment of a step added
up, with some room for where it does not; where none does, those that would if what pairs of changes save added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from planner.advice.changes import Change, Changes, cost_of, items_of, options_of
from planner.advice.techniques import ON_ACTIVATIONS
from planner.advice.trials import KEPT, Trial, best_near
from planner.advice.variants import Variants
from planner.records.advice import Cost

MOST_CHANGES = 4
"""Most changes that are made together."""
ROOM = 0.1
"""Share of the budget by which the sum of savings may miss it for a set to be tried."""
MOST_TRIED = 300
"""Most sets of several changes that are tried from one strategy; each takes about a millisecond."""
MOST_OF_A_COST = 3
"""Sets of one cost after which larger sets of the same cost are no longer tried."""

MOST_PAIRED = 12
"""Number of changes, those that save the most, whose pairs are all tried where sums find nothing."""

Items = frozenset[tuple[str, Any]]
Savings = Mapping[str, int]
"""Bytes saved at each moment."""


class Found(NamedTuple):
    """Holds changes and the fastest trial that fits with them.

    Attributes:
        changes: The changes.
        trial: The trial.
        others: Trials of other strategies that fit with the same changes.
    """

    changes: Changes
    trial: Trial
    others: tuple[Trial, ...] = ()


class Minimal:
    """Collects the minimal sets of changes: something fits after all of them, and not after a part of them."""

    def __init__(self, variants: Variants) -> None:
        self._variants = variants
        self._found: dict[Items, tuple[Changes, list[Trial]]] = {}

    def found(self) -> list[Found]:
        """Returns the smallest sets of changes."""
        smallest = [found for items, found in self._found.items() if not any(other < items for other in self._found)]
        ranked = ((changes, sorted(trials, key=Trial.seconds_per_token)) for changes, trials in smallest)
        return [Found(changes, fastest, tuple(others)) for changes, (fastest, *others) in ranked]

    def has_part_of(self, items: Items) -> bool:
        """Returns whether a part of these changes, but not all of them, would do."""
        return any(other < items for other in self._found)

    def add(self, changes: Changes, trial: Trial) -> None:
        """Adds changes with which a trial fits."""
        self._found.setdefault(items_of(changes), (changes, []))[1].append(trial)

    def search(self, base: Trial, prefix: Changes, changes: Sequence[Change]) -> list[Change]:
        """Looks for smallest sets of changes that make a strategy fit.

        Args:
            base: The strategy, which does not fit.
            prefix: Changes that it has already.
            changes: Changes that may be added.

        Returns:
            The changes that do not apply to the strategy.
        """
        singles: dict[Change, Trial] = {}
        inapplicable: list[Change] = []

        def try_all(some: Sequence[Change]) -> None:
            for change in some:
                trial = self._tried(base, (*prefix, change))
                if trial is None:
                    inapplicable.append(change)
                elif trial.fits:
                    self.add((*prefix, change), trial)
                else:
                    singles[change] = trial

        apart = options_of(prefix)
        wanted = [change for change in changes if not change.options.keys() & apart.keys()]
        passing = [change for change in wanted if change.options.keys() <= ON_ACTIVATIONS]
        try_all([change for change in wanted if change not in passing])
        # What stays between steps depends on none of the others: where it is too much, they need not be tried.
        if _least_kept(base, singles) <= 0:
            try_all(passing)
        self._combine(base, prefix, _useful(base, singles))
        return inapplicable

    def _tried(self, base: Trial, changes: Changes) -> Trial | None:
        return best_near(self._variants.changed(options_of(changes)), base.strategy)

    def _combine(self, base: Trial, prefix: Changes, saves: Mapping[Change, Savings]) -> None:
        """Tries sets of several changes, those of two and three by the sum of what each saves.

        A change can save more beside another one: without the activations that a checkpoint drops, gradients are what
        peaks. So where that finds nothing, pairs are tried as well, and larger sets by what pairs save.
        """
        for number in (2, 3):
            self._try_sets(base, prefix, _promising(base, saves, {}, number))
        if not self._found:
            saves = dict(sorted(saves.items(), key=lambda item: -max(item[1].values()))[:MOST_PAIRED])
            pairs = self._pairs(base, prefix, saves)
            for number in range(2, MOST_CHANGES + 1):
                self._try_sets(base, prefix, _promising(base, saves, pairs, number))

    def _try_sets(self, base: Trial, prefix: Changes, promising: Iterable[Changes]) -> None:
        """Tries sets of changes, the cheapest and those that need the fewest packages first, until enough are found."""
        enough: dict[Cost, int] = {}
        for made in sorted(promising, key=_place)[:MOST_TRIED]:
            changes = (*prefix, *made)
            cost = cost_of(changes)
            if enough.get(cost, 0) >= MOST_OF_A_COST or self.has_part_of(items_of(changes)):
                continue
            trial = self._tried(base, changes)
            if trial is not None and trial.fits:
                self.add(changes, trial)
                enough[cost] = enough.get(cost, 0) + 1

    def _pairs(self, base: Trial, prefix: Changes, saves: Mapping[Change, Savings]) -> dict[frozenset[Change], Savings]:
        """Returns what each pair saves beyond the sum of what its changes save."""
        found: dict[frozenset[Change], Savings] = {}
        for one, other in combinations(saves, 2):
            if one.options.keys() & other.options.keys():
                continue
            trial = self._tried(base, (*prefix, one, other))
            if trial is not None:
                both = saved(base, trial)
                found[frozenset((one, other))] = {key: both[key] - saves[one][key] - saves[other][key] for key in both}
        return found


def _place(changes: Changes) -> tuple[int, int]:
    """Returns by what sets of changes are ordered: what they cost, and how many packages they need."""
    return cost_of(changes).place, len({change.needs for change in changes if change.needs})


def saved(base: Trial, trial: Trial) -> Savings:
    """Returns the bytes that a trial takes less than a base, by moment."""
    return {key: over - trial.over.get(key, over) for key, over in base.over.items()}


def _least_kept(base: Trial, singles: Mapping[Change, Trial]) -> int:
    """Returns how much of what stays is over the budget if every option has its most saving value."""
    saved: dict[str, int] = {}
    for change, trial in singles.items():
        key = min(change.options)
        saved[key] = max(saved.get(key, 0), base.over[KEPT] - trial.over[KEPT])
    return base.over[KEPT] - sum(saved.values())


def _useful(base: Trial, singles: Mapping[Change, Trial]) -> dict[Change, Savings]:
    """Returns what each change saves by moment, without changes that save nothing, or are made alone.

    Of the changes of the same options at the same cost, those that save nowhere more than another one are left out.
    """
    saves = {change: saved(base, trial) for change, trial in singles.items()}
    saves = {change: saved for change, saved in saves.items() if max(saved.values()) > 0 and not change.alone}

    def is_beaten(change: Change) -> bool:
        for other, saved in saves.items():
            alike = other is not change and other.options.keys() == change.options.keys() and other.cost is change.cost
            if alike and saved != saves[change] and all(saved[key] >= saves[change][key] for key in saved):
                return True
        return False

    return {change: saved for change, saved in saves.items() if not is_beaten(change)}


def _promising(
    base: Trial, saves: Mapping[Change, Savings], pairs: Mapping[frozenset[Change], Savings], number: int
) -> Iterator[Changes]:
    """Yields the sets of `number` changes whose savings leave no more than some room over a budget.

    Args:
        base: The strategy without them.
        saves: What each change saves.
        pairs: What pairs of them save in addition, where that is known.
        number: Number of changes in a set.
    """
    missing = {key: over for key, over in base.over.items() if over > 0}
    if not missing:  # what fits but for its time or its price
        return
    room = round(ROOM * base.solver.budget_bytes)
    for made in combinations(saves, number):
        names = [name for change in made for name in change.options]
        if len(set(names)) < len(names):
            continue
        given = [saves[change] for change in made]
        given += [pairs[pair] for pair in map(frozenset, combinations(made, 2)) if pair in pairs] if pairs else []
        if max(over - sum(saved[key] for saved in given) for key, over in missing.items()) <= room:
            yield made

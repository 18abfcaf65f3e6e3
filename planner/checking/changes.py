"""Finds the smallest changes of a run's files that make it fit, its batch larger, or its step faster.

Every change is tried as the framework would read it: the files are read with the changed keys, and the run is planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

from planner.advice.changes import Change, cost_of, options_of
from planner.checking.moves import faster_changes, meant, respects, smaller_changes
from planner.checking.trials import Trial, Trials
from planner.readers.spelling.spelling import spelled
from planner.records.advice import Cost
from planner.records.check import Purpose

FITS: Final = "fits"
LARGER: Final = "larger batch"
FASTER_STEP: Final = "faster step"
MOST_SHOWN = 3
"""How many changes of a purpose are shown."""
_SHORTEST = 256
"""Tokens of the shortest sequence that is proposed."""
_WORTH = 0.97
"""Share of the present step time below which a change counts as faster: less is within what the rates are known to."""
_MOST_ROWS = 4096
"""Largest micro-batch that is proposed, in sequences."""


class Found(NamedTuple):
    """Holds a change that was found.

    Attributes:
        purpose: What it is for.
        what: The change in words.
        trial: The run with it.
        alters: Whether training has another result.
        size: Number of techniques that it changes.
    """

    purpose: Purpose
    what: tuple[str, ...]
    trial: Trial
    alters: bool
    size: int

    @property
    def length(self) -> int:
        """Returns the tokens of a sequence, one more than which is worth another change."""
        return int(self.trial.reading.value("sequence_length")) + 1


def changes_of(trials: Trials) -> list[Found]:
    """Returns the changes of a run: those that make it fit, or where it fits, a larger batch and a faster step."""
    now = trials.of({})
    search = _Search(trials, now) if now is not None else None
    if search is None:
        return []
    if not search.now.fits:
        return search.fitting()
    return [*search.larger(), *search.faster()]


class _Search:
    """Looks for changes of one run."""

    def __init__(self, trials: Trials, now: Trial) -> None:
        self.trials, self.now = trials, now
        assert now.run.recipe is not None
        self._spelling = now.run.recipe.spelling
        self._there = {key: entry.value for key, entry in now.run.entries().items()}

    def fitting(self) -> list[Found]:
        """Returns the changes that make the run fit, those first that train the same, the smallest first."""
        found: list[Found] = []
        for changes in self._combinations():
            if len(changes) > 2 and found:
                break
            found += self._fitted(changes)
        if all(change.alters for change in found):
            found += self._shorter()
        found.sort(key=lambda change: (change.alters, change.size, change.trial.candidate.seconds))
        return _distinct(found)[:MOST_SHOWN]

    def _combinations(self) -> Iterator[tuple[Change, ...]]:
        """Yields sets of changes: none, each alone, and more and more of them together."""
        usable = self._smaller
        yield ()
        yield from ((change,) for change in usable)
        same = self._together
        near = [change for change in same if "offload" not in change.options]
        yield from (changes for changes in accumulate((change,) for change in same) if len(changes) > 1)
        for others in (near, same):
            yield from ((*others, change) for change in usable if _alters((change,)) and others)

    @cached_property
    def _smaller(self) -> list[Change]:
        """The changes with which the run takes less memory, and which its framework can say."""
        usable = []
        for change in smaller_changes(respects(self.now.value)):
            keys = self._keys((change,))
            trial = None if keys is None else self.trials.of(keys)
            if trial is not None and trial.candidate.process_bytes < self.now.candidate.process_bytes:
                usable.append(change)
        return usable

    @property
    def _together(self) -> list[Change]:
        """The first change of each option, of those after which training has the same result."""
        same: list[Change] = []
        for change in self._smaller:
            if not _alters((change,)) and not options_of(same).keys() & change.options.keys():
                same.append(change)
        return same

    def _fitted(self, changes: Sequence[Change]) -> list[Found]:
        """Returns the change with the present batch, or with a smaller micro-batch of the same global batch."""
        keys = self._keys(changes)
        if keys is None:
            return []
        what, alters = tuple(change.words for change in changes), _alters(changes)
        trial = self.trials.of(keys)
        if changes and trial is not None and trial.fits:
            return [Found(FITS, what, trial, alters, len(changes))]
        for rows, steps in self._batches(below=True):
            if (trial := self._fitting(keys, rows, steps)) is not None:
                return [Found(FITS, (*what, _batch(rows, steps)), trial, alters, len(changes) + 1)]
        return []

    def _shorter(self) -> list[Found]:
        """Returns the change to shorter sequences, alone or with all that takes less memory and trains the same."""
        found: list[Found] = []
        for changes in ((), tuple(self._together)):
            length = int(self.now.reading.value("sequence_length") or 0) // 2
            keys, longest = self._keys(changes), max((change.length for change in found), default=_SHORTEST)
            while keys is not None and length >= longest:
                more = spelled(self._spelling, {"sequence_length": length}, self._there) or {}
                trial = self.trials.of({**keys, **more}) if more else None
                if trial is not None and trial.fits:
                    what = (*(change.words for change in changes), f"sequences of {length} tokens")
                    found.append(Found(FITS, what, trial, True, len(changes) + 1))
                    break
                length //= 2
        return found

    def larger(self) -> list[Found]:
        """Returns the changes to the largest micro-batch, alone and with one technique that makes room for more."""
        rows = self.now.rows
        found: list[Found] = []
        for changes in [(), *((change,) for change in self._smaller if not _alters((change,)))]:
            trial = self._largest(self._keys(changes))
            if trial is None or trial.rows <= rows:
                continue
            rows = trial.rows if not changes else rows
            if changes and (trial.rows < 1.5 * rows or trial.candidate.seconds / trial.rows > 2 * self._row_seconds):
                continue
            what = (*(change.words for change in changes), f"a micro-batch of {trial.rows}")
            found.append(Found(LARGER, what, trial, False, len(changes) + 1))
        found.sort(key=lambda change: -change.trial.rows)
        alone = [change for change in found if change.size == 1]
        return _distinct([*alone, *(change for change in found if change.size > 1)])[:2]

    @property
    def _row_seconds(self) -> float:
        return self.now.candidate.seconds / self.now.rows

    def _largest(self, keys: Mapping[str, Any] | None) -> Trial | None:
        """Returns the run with the largest micro-batch that fits, with as many accumulation steps as now."""
        trial = None if keys is None else self.trials.of(keys)
        if trial is None:
            return None
        limit = trial.candidate.footprint.largest_micro_batch(trial.solver.budget_bytes)
        if trial.candidate.micro_batch_size == trial.rows:
            return self._fitting(keys or {}, min(limit, _MOST_ROWS), self.now.steps)
        return self._longest(keys or {})

    def _longest(self, keys: Mapping[str, Any]) -> Trial | None:
        """Returns the same for packed sequences, which are one row: its length grows, in which memory is no line."""
        low, high, best = self.now.rows, self.now.rows + 1, None
        while high <= _MOST_ROWS and (found := self._fitting(keys, high, self.now.steps)) is not None:
            low, high, best = high, 2 * high, found
        while high - low > 1:
            middle = (low + high) // 2
            if (found := self._fitting(keys, middle, self.now.steps)) is not None:
                low, best = middle, found
            else:
                high = middle
        return best

    def faster(self) -> list[Found]:
        """Returns the changes that make a step of the same global batch faster, the fastest first."""
        found: list[Found] = []
        usable = [change for change in faster_changes(respects(self.now.value)) if self._keys((change,)) is not None]
        for changes in [(), *((change,) for change in usable), tuple(usable)]:
            keys = self._keys(changes)
            if keys is None:
                continue
            for trial, more in self._same_batch(keys):
                if trial.candidate.seconds < _WORTH * self.now.candidate.seconds:
                    what = (*(change.words for change in changes), *more)
                    found.append(Found(FASTER_STEP, what, trial, False, len(changes) + len(more)))
        found.sort(key=lambda change: change.trial.candidate.seconds)
        smallest = _pareto(found)
        return _distinct(smallest)[:2]

    def _same_batch(self, keys: Mapping[str, Any]) -> Iterator[tuple[Trial, tuple[str, ...]]]:
        """Yields the run with keys changed: with its micro-batch, with the largest that fits, else with a smaller one.

        The global batch stays the same.
        """
        trial = self.trials.of(keys)
        if trial is None:
            return
        if keys and trial.fits:
            yield trial, ()
        for batches in (reversed([*self._batches(below=False)]), () if trial.fits else self._batches(below=True)):
            for rows, steps in batches:
                if (found := self._fitting(keys, rows, steps)) is not None:
                    yield found, (_batch(rows, steps),)
                    break

    def _batches(self, *, below: bool) -> Iterator[tuple[int, int]]:
        """Yields micro-batches and accumulation steps of the same product, smaller or larger ones, nearest first."""
        product, rows = self.now.rows * self.now.steps, self.now.rows
        sizes: Iterable[int] = range(rows - 1, 0, -1) if below else range(rows + 1, min(product, _MOST_ROWS) + 1)
        yield from ((size, product // size) for size in sizes if product % size == 0)

    def _fitting(self, keys: Mapping[str, Any], rows: int, steps: int) -> Trial | None:
        """Returns the run with keys changed and another batch; None if it does not fit or cannot be said."""
        trial = self._with_batch(keys, rows, steps)
        return trial if trial is not None and trial.fits else None

    def _with_batch(self, keys: Mapping[str, Any], rows: int, steps: int) -> Trial | None:
        now = {"micro_batch_size": self.now.rows, "gradient_accumulation_steps": self.now.steps}
        then = {"micro_batch_size": rows, "gradient_accumulation_steps": steps}
        says = {word: number for word, number in then.items() if number != now[word]}
        batch = spelled(self._spelling, says, self._there)
        if batch is None:
            return None
        trial = self.trials.of({**keys, **batch})
        return trial if trial is not None and (trial.rows, trial.steps) == (rows, steps) else None

    def _keys(self, changes: Sequence[Change]) -> dict[str, Any] | None:
        """Returns the keys that say some changes; None if the framework has no words for one, or reads it otherwise."""
        keys: dict[str, Any] = {}
        for change in changes:
            found = self._spelled(change.options)
            if not found:
                return None
            keys |= found
        return keys

    def _spelled(self, says: Mapping[str, Any]) -> dict[str, Any] | None:
        keys = spelled(self._spelling, says, self._there)
        trial = self.trials.of(keys) if keys else None
        if trial is None:
            return None
        return keys if all(trial.value(word) in meant(value) for word, value in says.items()) else None


def _alters(changes: Sequence[Change]) -> bool:
    """Returns whether training has another result with some changes."""
    return cost_of(changes) is Cost.METHOD


def _batch(rows: int, steps: int) -> str:
    return f"a micro-batch of {rows}, accumulated over {steps}" if steps > 1 else f"a micro-batch of {rows}"


def _distinct(found: Sequence[Found]) -> list[Found]:
    """Returns the first of those changes that set the same keys."""
    return list({repr(sorted(change.trial.keys.items())): change for change in reversed(found)}.values())[::-1]


def _pareto(found: Sequence[Found]) -> list[Found]:
    """Returns, of changes from the fastest on, those that are smaller than all faster ones."""
    kept: list[Found] = []
    for change in found:
        if all(change.size < other.size for other in kept):
            kept.append(change)
    return kept

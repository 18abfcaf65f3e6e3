"""Varies a run in the words of its framework: keys that say changes, and other micro-batches of the same batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from planner.advice.changes import Change, options_of
from planner.checking.changes.found import alters_result
from planner.checking.changes.moves import meant, respects, smaller_changes
from planner.checking.changes.trials import Trial, Trials
from planner.readers.spelling.spelling import spelled

MOST_ROWS = 4096
"""Largest micro-batch that is proposed, in sequences."""


class Variations:
    """Makes variations of one run."""

    def __init__(self, trials: Trials, now: Trial) -> None:
        self.trials, self.now = trials, now
        assert now.run.recipe is not None
        self.spelling = now.run.recipe.spelling
        self.there = {key: entry.value for key, entry in now.run.entries().items()}

    @cached_property
    def smaller(self) -> list[Change]:
        """The changes with which the run takes less memory, and which its framework can say."""
        usable = []
        for change in smaller_changes(respects(self.now.value)):
            keys = self.keys((change,))
            trial = None if keys is None else self.trials.of(keys)
            if trial is not None and trial.candidate.process_bytes < self.now.candidate.process_bytes:
                usable.append(change)
        return usable

    @property
    def together(self) -> list[Change]:
        """The first change of each option, of those after which training has the same result."""
        same: list[Change] = []
        for change in self.smaller:
            if not alters_result((change,)) and not options_of(same).keys() & change.options.keys():
                same.append(change)
        return same

    def batches(self, *, below: bool) -> Iterator[tuple[int, int]]:
        """Yields micro-batches and accumulation steps of the same product, smaller or larger ones, nearest first."""
        product, rows = self.now.rows * self.now.steps, self.now.rows
        sizes: Iterable[int] = range(rows - 1, 0, -1) if below else range(rows + 1, min(product, MOST_ROWS) + 1)
        yield from ((size, product // size) for size in sizes if product % size == 0)

    def fitting(self, keys: Mapping[str, Any], rows: int, steps: int) -> Trial | None:
        """Returns the run with keys changed and another batch; None if it does not fit or cannot be said."""
        trial = self._with_batch(keys, rows, steps)
        return trial if trial is not None and trial.fits else None

    def _with_batch(self, keys: Mapping[str, Any], rows: int, steps: int) -> Trial | None:
        now = {"micro_batch_size": self.now.rows, "gradient_accumulation_steps": self.now.steps}
        then = {"micro_batch_size": rows, "gradient_accumulation_steps": steps}
        says = {word: number for word, number in then.items() if number != now[word]}
        batch = spelled(self.spelling, says, self.there)
        if batch is None:
            return None
        trial = self.trials.of({**keys, **batch})
        return trial if trial is not None and (trial.rows, trial.steps) == (rows, steps) else None

    def keys(self, changes: Sequence[Change]) -> dict[str, Any] | None:
        """Returns the keys that say some changes; None if the framework has no words for one, or reads it otherwise."""
        keys: dict[str, Any] = {}
        for change in changes:
            found = self._spelled(change.options)
            if not found:
                return None
            keys |= found
        return keys

    def _spelled(self, says: Mapping[str, Any]) -> dict[str, Any] | None:
        keys = spelled(self.spelling, says, self.there)
        trial = self.trials.of(keys) if keys else None
        if trial is None:
            return None
        return keys if all(trial.value(word) in meant(value) for word, value in says.items()) else None

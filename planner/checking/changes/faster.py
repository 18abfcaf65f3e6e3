"""Finds the changes that make a step of the same batch faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.checking.changes.found import Found, batch_in_words, distinct, smaller_ones
from planner.checking.changes.moves import faster_changes, respects
from planner.checking.changes.trials import Trial
from planner.checking.changes.variations import Variations
from planner.records.check import FASTER_STEP

_WORTH = 0.97
"""Share of the present step time below which a change counts as faster: less is within what the rates are known to."""


def faster(run: Variations) -> list[Found]:
    """Returns the changes that make a step of the same global batch faster, the fastest first."""
    found: list[Found] = []
    usable = [change for change in faster_changes(respects(run.now.value)) if run.keys((change,)) is not None]
    for changes in [(), *((change,) for change in usable), tuple(usable)]:
        keys = run.keys(changes)
        if keys is None:
            continue
        for trial, more in _same_batch(run, keys):
            if trial.candidate.seconds < _WORTH * run.now.candidate.seconds:
                what = (*(change.words for change in changes), *more)
                found.append(Found(FASTER_STEP, what, trial, False, len(changes) + len(more)))
    found.sort(key=lambda change: change.trial.candidate.seconds)
    smallest = smaller_ones(found)
    return distinct(smallest)[:2]


def _same_batch(run: Variations, keys: Mapping[str, Any]) -> Iterator[tuple[Trial, tuple[str, ...]]]:
    """Yields the run with keys changed: with its micro-batch, with the largest that fits, else with a smaller one.

    The global batch stays the same.
    """
    trial = run.trials.of(keys)
    if trial is None:
        return
    if keys and trial.fits:
        yield trial, ()
    for batches in (reversed([*run.batches(below=False)]), () if trial.fits else run.batches(below=True)):
        for rows, steps in batches:
            if (found := run.fitting(keys, rows, steps)) is not None:
                yield found, (batch_in_words(rows, steps),)
                break

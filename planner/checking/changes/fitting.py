"""Finds the smallest changes that make a run fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from planner.advice.changes import Change
from planner.checking.changes.found import MOST_SHOWN, Found, alters_result, batch_in_words, distinct
from planner.checking.changes.variations import Variations
from planner.readers.spelling.spelling import spelled
from planner.records.check import FITS

_SHORTEST = 256
"""Tokens of the shortest sequence that is proposed."""


def fitting(run: Variations) -> list[Found]:
    """Returns the changes that make the run fit, those first that train the same, the smallest first."""
    found: list[Found] = []
    for changes in _combinations(run):
        if len(changes) > 2 and found:
            break
        found += _fitted(run, changes)
    if all(change.alters for change in found):
        found += _shorter(run)
    found.sort(key=lambda change: (change.alters, change.size, change.trial.candidate.seconds))
    return distinct(found)[:MOST_SHOWN]


def _combinations(run: Variations) -> Iterator[tuple[Change, ...]]:
    """Yields sets of changes: none, each alone, and more and more of them together."""
    usable = run.smaller
    yield ()
    yield from ((change,) for change in usable)
    same = run.together
    near = [change for change in same if "offload" not in change.options]
    yield from (changes for changes in accumulate((change,) for change in same) if len(changes) > 1)
    for others in (near, same):
        yield from ((*others, change) for change in usable if alters_result((change,)) and others)


def _fitted(run: Variations, changes: Sequence[Change]) -> list[Found]:
    """Returns the change with the present batch, or with a smaller micro-batch of the same global batch."""
    keys = run.keys(changes)
    if keys is None:
        return []
    what, alters = tuple(change.words for change in changes), alters_result(changes)
    trial = run.trials.of(keys)
    if changes and trial is not None and trial.fits:
        return [Found(FITS, what, trial, alters, len(changes))]
    for rows, steps in run.batches(below=True):
        if (trial := run.fitting(keys, rows, steps)) is not None:
            return [Found(FITS, (*what, batch_in_words(rows, steps)), trial, alters, len(changes) + 1)]
    return []


def _shorter(run: Variations) -> list[Found]:
    """Returns the change to shorter sequences, alone or with all that takes less memory and trains the same."""
    found: list[Found] = []
    for changes in ((), tuple(run.together)):
        length = int(run.now.reading.value("sequence_length") or 0) // 2
        keys, longest = run.keys(changes), max((change.length for change in found), default=_SHORTEST)
        while keys is not None and length >= longest:
            more = spelled(run.spelling, {"sequence_length": length}, run.there) or {}
            trial = run.trials.of({**keys, **more}) if more else None
            if trial is not None and trial.fits:
                what = (*(change.words for change in changes), f"sequences of {length} tokens")
                found.append(Found(FITS, what, trial, True, len(changes) + 1))
                break
            length //= 2
    return found

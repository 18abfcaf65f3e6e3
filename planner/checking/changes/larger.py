"""Finds the changes that make the batch of a run larger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.checking.changes.found import Found, alters_result, distinct
from planner.checking.changes.trials import Trial
from planner.checking.changes.variations import MOST_ROWS, Variations
from planner.records.check import LARGER


def larger(run: Variations) -> list[Found]:
    """Returns the changes to the largest micro-batch, alone and with one technique that makes room for more."""
    rows = run.now.rows
    found: list[Found] = []
    for changes in [(), *((change,) for change in run.smaller if not alters_result((change,)))]:
        trial = _largest(run, run.keys(changes))
        if trial is None or trial.rows <= rows:
            continue
        rows = trial.rows if not changes else rows
        if changes and (
            trial.rows < 1.5 * rows
            or trial.candidate.seconds / trial.rows > 2 * run.now.candidate.seconds / run.now.rows
        ):
            continue
        what = (*(change.words for change in changes), f"a micro-batch of {trial.rows}")
        found.append(Found(LARGER, what, trial, False, len(changes) + 1))
    found.sort(key=lambda change: -change.trial.rows)
    alone = [change for change in found if change.size == 1]
    return distinct([*alone, *(change for change in found if change.size > 1)])[:2]


def _largest(run: Variations, keys: Mapping[str, Any] | None) -> Trial | None:
    """Returns the run with the largest micro-batch that fits, with as many accumulation steps as now."""
    trial = None if keys is None else run.trials.of(keys)
    if trial is None:
        return None
    limit = trial.candidate.footprint.largest_micro_batch(trial.solver.budget_bytes)
    if trial.candidate.micro_batch_size == trial.rows:
        return run.fitting(keys or {}, min(limit, MOST_ROWS), run.now.steps)
    return _longest(run, keys or {})


def _longest(run: Variations, keys: Mapping[str, Any]) -> Trial | None:
    """Returns the same for packed sequences, which are one row of the micro-batch.

    The row's length grows with them. Memory is not linear in it, so the largest that fits is found by bisection.
    """
    low, high, best = run.now.rows, run.now.rows + 1, None
    while high <= MOST_ROWS and (found := run.fitting(keys, high, run.now.steps)) is not None:
        low, high, best = high, 2 * high, found
    while high - low > 1:
        middle = (low + high) // 2
        if (found := run.fitting(keys, middle, run.now.steps)) is not None:
            low, best = middle, found
        else:
            high = middle
    return best

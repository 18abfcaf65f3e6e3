"""Finds the smallest changes of a run's files that make it fit, its batch larger, or its step faster.

Every change is tried as the framework would read it: the files are read with the changed keys, and the run is planned.
"""

from __future__ import annotations

from planner.checking.changes.faster import faster
from planner.checking.changes.fitting import fitting
from planner.checking.changes.found import Found
from planner.checking.changes.larger import larger
from planner.checking.changes.trials import Trials
from planner.checking.changes.variations import Variations


def changes_of(trials: Trials) -> list[Found]:
    """Returns the changes of a run: those that make it fit, or where it fits, a larger batch and a faster step."""
    now = trials.of({})
    if now is None:
        return []
    run = Variations(trials, now)
    return [*larger(run), *faster(run)] if now.fits else fitting(run)

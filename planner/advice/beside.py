"""Finds machines on which something fits with one change of the run, cheaper than those on which it fits alone.

A change is tried beside a machine if what it saves on the machine at hand, with some room, makes up for what is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from planner.advice.changes import Change, Changes, options_of
from planner.advice.machines import MOST_TIMES_AS_LONG
from planner.advice.minimal import ROOM, Found, Savings, saved
from planner.advice.techniques import is_slow_to_try
from planner.advice.trials import Trial, best_near
from planner.advice.variants import Variants
from planner.records.advice import Cost
from strategies import ContradictionError

MOST_BESIDE = 12
"""Changes that are tried together with a machine: of the cheapest ones, those that save the most."""


class TooSmall(NamedTuple):
    """Holds a machine on which nothing fits by itself, with what it takes there."""

    change: Change
    trial: Trial


def beside(variants: Variants, least: Trial, machines: Iterable[TooSmall], changes: Sequence[Change]) -> Found | None:
    """Returns the first machine on which the smallest strategy fits with one change, and the change.

    Of several, it is that of the least cost, and then the fastest.

    Args:
        variants: The request.
        least: Its smallest strategy, which does not fit.
        machines: Machines on which that does not fit, the cheapest first.
        changes: Changes of the run, none of which is enough by itself.
    """
    saving, slowest = None, MOST_TIMES_AS_LONG * least.seconds_per_token()
    for machine, trial in machines:
        saving = _saving(variants, least, changes) if saving is None else saving
        found = (_tried(variants, least, (machine, change)) for change, some in saving if not _is_hopeless(trial, some))
        fits = [one for one in found if one is not None and one.trial.seconds_per_token() <= slowest]
        if fits:
            return min(fits, key=lambda one: (one.changes[1].cost.place, one.trial.seconds_per_token()))
    return None


def _tried(variants: Variants, least: Trial, changes: Changes) -> Found | None:
    """Returns changes with the strategy that fits with them, or None if none does."""
    try:
        trial = best_near(variants.changed(options_of(changes)), least.strategy)
    except ContradictionError:  # so many GPUs do not divide the global batch
        return None
    return Found(changes, trial) if trial is not None and trial.fits else None


def _saving(variants: Variants, least: Trial, changes: Iterable[Change]) -> list[tuple[Change, Savings]]:
    """Returns the changes by a flag or a package that save anything, the cheapest first, then those that save most."""
    found = []
    for change in changes:
        if change.cost in (Cost.FLAG, Cost.PACKAGE) and not is_slow_to_try(change):
            trial = best_near(variants.changed(change.options), least.strategy)
            if trial is not None and max(savings := saved(least, trial).values()) > 0:
                found.append((change.cost.place, -max(savings), change, saved(least, trial)))
    return [(change, savings) for *_, change, savings in sorted(found, key=lambda one: one[:2])[:MOST_BESIDE]]


def _is_hopeless(trial: Trial, savings: Savings) -> bool:
    """Returns whether a machine lacks more than a change saves, with some room for what it saves there."""
    room = round(ROOM * trial.solver.budget_bytes)
    return max(over - savings.get(key, 0) for key, over in trial.over.items()) > room

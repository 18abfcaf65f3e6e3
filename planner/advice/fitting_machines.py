"""Finds machines on which something fits: alone, or with one change of the run, which can do on a cheaper one.

A change is tried with a machine if what it saves on the machine at hand, with some room, makes up for what is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from planner.advice.changes import Change, Changes, options_of
from planner.advice.machines import (
    MOST_TIMES_AS_LONG,
    MOST_TIMES_THE_MEMORY,
    memory_of,
    more_gpus,
    other_machines,
)
from planner.advice.minimal import ROOM, Found, Savings, saved
from planner.advice.techniques import is_slow_to_try
from planner.advice.trials import HOST, Trial, best_near
from planner.advice.variants import Variants
from planner.records.advice import Cost
from strategies import ContradictionError

MOST_BESIDE = 12
"""Changes that are tried together with a machine: of the cheapest ones, those that save the most."""


class TooSmall(NamedTuple):
    """Holds a machine on which nothing fits by itself, with what it takes there."""

    change: Change
    trial: Trial


def machines_that_fit(variants: Variants, least: Trial, changes: Sequence[Change]) -> Iterator[Found]:
    """Yields the cheapest other GPUs that fit, and the fewest more of the same unless they are many times as large.

    After each of them follows a cheaper machine on which something fits with one of the changes, if there is one.

    Args:
        variants: The request.
        least: Its smallest strategy, which does not fit.
        changes: Changes of the run, none of which is enough by itself.
    """
    others, smaller = _first(variants, other_machines(variants), least)
    more, fewer = _first(variants, more_gpus(variants), least)
    limit = MOST_TIMES_THE_MEMORY * memory_of(others.trial.solver.cluster) if others is not None else None
    for alone, failed in ((others, smaller), (more, fewer)):
        found = (alone, with_one_change(variants, least, failed, changes))
        yield from (
            one
            for one in found
            if one is not None and (alone is others or limit is None or memory_of(one.trial.solver.cluster) <= limit)
        )


def _first(variants: Variants, changes: Iterable[Change], least: Trial) -> tuple[Found | None, list[TooSmall]]:
    """Returns the first machine on which something fits, and those before it on which nothing does."""
    usual, failed = least.seconds_per_token(), list[TooSmall]()
    for change in changes:
        try:
            variant = variants.changed(change.options)
        except ContradictionError:  # so many GPUs do not divide the global batch
            continue
        if least.solver.cluster.gpu.supports_bf16 and not variant.solver.cluster.gpu.supports_bf16:
            continue  # fp16, all that runs there, overflows where bf16 does not
        # Fewer GPUs shard less, so what one holds now is no bound; as many of a smaller one cannot do.
        same = variant.solver.cluster.world_size == least.solver.cluster.world_size
        if same and variant.solver.budget_bytes <= least.solver.budget_bytes and least.over.get(HOST, 0) <= 0:
            continue
        trial = best_near(variant, least.strategy)
        if trial is None:
            continue
        if trial.fits and trial.seconds_per_token() <= MOST_TIMES_AS_LONG * usual:
            return Found((change,), trial), failed
        failed += [] if trial.fits else [TooSmall(change, trial)]
    return None, failed


def with_one_change(
    variants: Variants, least: Trial, machines: Iterable[TooSmall], changes: Sequence[Change]
) -> Found | None:
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

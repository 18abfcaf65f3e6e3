"""Runs a sweep on all cores: units that a file holds already are left out, and what is found is written as it comes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from planner.extras import Progress
from planner.records.sweep import SweepResult, SweepRow
from planner.sweeps.tables import format_of, rows_in, write_rows
from planner.sweeps.unit import Asked, rows_of

Unit = tuple[str, int | None]
"""A model and a length; None for the model's usual one."""

WRITTEN_EVERY_SECONDS: Final = 2.0
"""Most seconds of work that an interrupted sweep does again, but for the units that were running."""

_asked: Asked | None = None


def run(asked: Asked, units: Sequence[Unit], output: Path | None, jobs: int | None, progress: Progress) -> SweepResult:
    """Returns the rows of all units, in their order.

    Args:
        asked: What is asked of each unit.
        units: Models and lengths.
        output: File that gets the rows; one that has some already is completed.
        jobs: Processes; None for as many as there are cores.
        progress: Is called with a line of text after each unit.
    """
    start, written = time.perf_counter(), time.perf_counter()
    found: dict[Unit, list[SweepRow]] = {}
    others: list[SweepRow] = []  # of units that are not asked for this time
    if output is not None:
        format_of(output)
        wanted = set(units)
        for row in rows_in(output, asked.key):
            unit = next((u for u in ((row.model, row.sequence_length), (row.model, None)) if u in wanted), None)
            (others if unit is None else found.setdefault(unit, [])).append(row)
    left, reused = [unit for unit in units if unit not in found], sum(map(len, found.values()))
    try:
        for number, (unit, rows) in enumerate(_solved(asked, left, jobs), start=1):
            found[unit] = rows
            progress(f"{number} of {len(left)}: {unit[0]}")
            if output is not None and time.perf_counter() - written > WRITTEN_EVERY_SECONDS:
                write_rows(output, [*others, *_in_order(found, units)])
                written = time.perf_counter()
    finally:  # an interrupt, too, keeps what was found
        rows = _in_order(found, units)
        if output is not None and rows:
            write_rows(output, [*others, *rows])
    return SweepResult.model_construct(None, rows=tuple(rows), reused=reused, seconds=time.perf_counter() - start)


def _in_order(found: dict[Unit, list[SweepRow]], units: Sequence[Unit]) -> list[SweepRow]:
    return [row for unit in units for row in found.get(unit, ())]


def _solved(asked: Asked, units: Sequence[Unit], jobs: int | None) -> Iterator[tuple[Unit, list[SweepRow]]]:
    """Yields the rows of each unit as they come, from several processes if there is more than one unit."""
    processes = min(jobs or len(os.sched_getaffinity(0)), len(units))
    if processes <= 1:
        for unit in units:
            yield unit, rows_of(asked, *unit)
        return
    pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(asked,))
    try:
        running: dict[Future[list[SweepRow]], Unit] = {pool.submit(_rows, unit): unit for unit in units}
        for future in as_completed(running):
            yield running[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(asked: Asked) -> None:
    global _asked
    _asked = asked


def _rows(unit: Unit) -> list[SweepRow]:
    assert _asked is not None
    return rows_of(_asked, *unit)

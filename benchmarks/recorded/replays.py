"""Replays many cells of a benchmark in parallel, records them as they finish, and compares the model with them."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

WORKERS = 2
"""Number of replays that run at the same time."""
T = TypeVar("T")


def record(replayed: Callable[[T], dict[str, Any]], cells: Iterable[T], file: Path) -> None:
    """Replays each cell in a forked process of its own, with which FSDP's process group and torch's patches end.

    Args:
        replayed: Replays a cell and returns the entry to record.
        cells: The cells.
        file: File that a line of JSON is appended to for each cell.
    """
    import planner.replay  # noqa: F401  # imported once, for all processes

    with multiprocessing.get_context("fork").Pool(WORKERS, maxtasksperchild=1) as pool, file.open("a") as lines:
        for entry in pool.imap_unordered(replayed, cells):
            print(json.dumps(entry), file=lines, flush=True)


class Errors(NamedTuple):
    """Holds the relative errors, (model - replay) / replay, of one cell."""

    cell: Any
    peak: float
    """Error at the peak of the step."""
    phases: dict[str, float]
    """Error of each phase."""
    missing_bytes: int
    """Bytes by which the model is below the replay at the peak; negative if it is above."""

    @property
    def largest(self) -> float:
        return max(self.phases.values(), key=abs)


def errors_of(cell: Any, replay: dict[str, int], model: dict[str, int]) -> Errors:
    """Returns the errors of a cell, given its peak bytes by phase in the replay and in the memory model."""
    peak, modelled = max(replay.values()), max(model.values())
    return Errors(cell, modelled / peak - 1, {p: model[p] / replay[p] - 1 for p in replay}, peak - modelled)

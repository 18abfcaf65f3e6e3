"""Replays many cells of a benchmark side by side, records them as they come, and holds the model against them."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

WORKERS = 2
T = TypeVar("T")


def record(replayed: Callable[[T], dict[str, Any]], cells: Iterable[T], file: Path) -> None:
    """One forked process a cell: FSDP's process group and the patches of torch end with it."""
    import planner.replay  # noqa: F401  # imported once, for all processes

    with multiprocessing.get_context("fork").Pool(WORKERS, maxtasksperchild=1) as pool, file.open("a") as lines:
        for entry in pool.imap_unordered(replayed, cells):
            print(json.dumps(entry), file=lines, flush=True)


class Errors(NamedTuple):
    """(model - replay) / replay of one cell, and how many bytes less than the replay the model says at the peak."""

    cell: Any
    peak: float
    phases: dict[str, float]
    missing_bytes: int

    @property
    def largest(self) -> float:
        return max(self.phases.values(), key=abs)


def errors_of(cell: Any, replay: dict[str, int], model: dict[str, int]) -> Errors:
    """Bytes by phase."""
    peak, modelled = max(replay.values()), max(model.values())
    return Errors(cell, modelled / peak - 1, {p: model[p] / replay[p] - 1 for p in replay}, peak - modelled)

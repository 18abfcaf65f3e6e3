"""Holds a change that was found, and says which of several are worth showing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from planner.advice.changes import Change, cost_of
from planner.checking.changes.trials import Trial
from planner.records.advice import Cost
from planner.records.check import Purpose

MOST_SHOWN = 3
"""How many changes of a purpose are shown."""


class Found(NamedTuple):
    """Holds a change that was found.

    Attributes:
        purpose: What it is for.
        what: The change in words.
        trial: The run with it.
        alters: Whether training has another result.
        size: Number of techniques that it changes.
    """

    purpose: Purpose
    what: tuple[str, ...]
    trial: Trial
    alters: bool
    size: int

    @property
    def length(self) -> int:
        """Returns the tokens of a sequence, one more than which is worth another change."""
        return int(self.trial.reading.value("sequence_length")) + 1


def alters_result(changes: Sequence[Change]) -> bool:
    """Returns whether training has another result with some changes."""
    return cost_of(changes) is Cost.METHOD


def batch_in_words(rows: int, steps: int) -> str:
    """Returns a micro-batch and its accumulation in words."""
    return f"a micro-batch of {rows}, accumulated over {steps}" if steps > 1 else f"a micro-batch of {rows}"


def distinct(found: Sequence[Found]) -> list[Found]:
    """Returns the first of those changes that set the same keys."""
    return list({repr(sorted(change.trial.keys.items())): change for change in reversed(found)}.values())[::-1]


def smaller_ones(found: Sequence[Found]) -> list[Found]:
    """Returns, of changes from the fastest on, those that are smaller than all faster ones."""
    kept: list[Found] = []
    for change in found:
        if all(change.size < other.size for other in kept):
            kept.append(change)
    return kept

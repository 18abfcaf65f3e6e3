"""Renders the changes of a run's files: what each does, what the run takes with it, and its diff."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from planner.records.check import FASTER_STEP, FITS, LARGER, ROOMIER, Change, CheckResult
from planner.report.parts.blocks import Wrapped
from planner.report.parts.format import gib, seconds

_TITLES = {
    FITS: "smallest changes that make it fit",
    ROOMIER: "smallest changes that leave 5% free",
    LARGER: "changes for a larger batch",
    FASTER_STEP: "changes for a faster step",
}
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def change_lines(result: CheckResult, *, full: bool = False) -> Iterator[Wrapped | str]:
    """Yields the changes by their purpose, each with its rank.

    Args:
        result: The answer.
        full: Whether every change has its diff, and not the first one alone.
    """
    purpose = ""
    for rank, change in enumerate(result.changes, start=1):
        if change.purpose != purpose:
            purpose = change.purpose
            yield ""
            yield Wrapped(_TITLES[purpose], "bold", indent=0)
        yield Wrapped(_numbers(change), prefix=f"{rank}. ")
        if full or rank == 1:
            for line in change.diff.splitlines():
                yield Wrapped(Text(line, _STYLES.get(line[:1], "dim")), indent=5)
            if change.arguments:
                yield Wrapped(Text(f"arguments: {change.arguments}", "green"), indent=5)
    if len(result.changes) > 1 and not full:
        yield Wrapped("the others in full: --notes", "dim")


def _numbers(change: Change) -> str:
    batch = f"batch {change.global_batch_size}, {seconds(change.step_seconds)} a step"
    memory = f"{gib(change.process_bytes)} of {gib(change.budget_bytes)} GiB"
    otherwise = "; it trains otherwise" if change.alters else ""
    return f"{change.what}: {memory}, {batch}{otherwise}"

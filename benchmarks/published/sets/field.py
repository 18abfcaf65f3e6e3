"""Asks the planner what users reported of single runs: field_reports.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from published.answer import Said, said_of
from published.data_files import DATA

FILE = DATA / "field_reports.yaml"

GB = 10**9


class Report(NamedTuple):
    """What a user reported of a run.

    Attributes:
        source: Where.
        said: What ran, in words.
        model: Name of the model, as the planner knows it.
        request: Arguments of `planner.estimate`.
        ran: Whether it ran; otherwise it was out of memory.
        device_bytes: Bytes that it took of the GPU, or None.
        reserved_bytes: Bytes that torch's allocator reserved, or None.
        allocated_bytes: Bytes that torch's allocator had handed out, or None.
        full: Whether it is the largest that ran, which fills the GPU: no headroom is left, and none asked for.
        wrong: Why the planner judges it wrong, as far as that is known; empty where it is right.
        why: Why the planner says another number, as far as that is known.
    """

    source: str
    said: str
    model: str
    request: dict[str, Any]
    ran: bool
    device_bytes: int | None = None
    reserved_bytes: int | None = None
    allocated_bytes: int | None = None
    full: bool = False
    wrong: str = ""
    why: str = ""

    @property
    def answer(self) -> Said:
        """Returns what the planner says."""
        return said_of(self.model, self.request)


def reports() -> list[Report]:
    """Returns all reports, in the file's order."""
    return [Report(**entry) for entry in yaml.safe_load(FILE.read_text())]


def rows(found: list[Report]) -> Iterator[str]:
    """Yields the rows of a table of reports; GB are 10^9 bytes, as users say them."""
    yield "| report | run | reported | planner | |"
    yield "|---|---|---|---|---|"
    for report in found:
        said = report.answer
        measured, told = "ran", f"{said.device_bytes / GB:.1f} GB"
        if report.device_bytes:
            measured = f"{report.device_bytes / GB:.1f} GB"
        for kind in ("reserved", "allocated"):
            if taken := getattr(report, f"{kind}_bytes"):
                measured = f"{taken / GB:.1f} GB {kind}"
                told = f"{getattr(said, f'{kind}_bytes') / GB:.1f} GB {kind}"
        if not report.full:
            told += f", {'fits' if said.fits else 'does not fit'}"
        cells = (
            report.source,
            report.said,
            measured if report.ran else "out of memory",
            told,
            report.wrong or report.why,
        )
        yield f"| {' | '.join(cells)} |"

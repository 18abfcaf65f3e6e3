"""Renders a timeline as a table: one row for each allocation and free of the step."""

from __future__ import annotations

import csv
from io import StringIO
from typing import TYPE_CHECKING

from planner.records.verification import Verification

if TYPE_CHECKING:
    from planner.replay.recording.timeline import Timeline

HEADING = ("event", "phase", "tensor", "block", "category", "change_bytes")


def render(timeline: Timeline, verification: Verification) -> bytes:
    """Returns the file; row 0 is the start of the step, and each other row says what is alive after an event."""
    file = StringIO(newline="")
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow([*HEADING, *(f"{category}_bytes" for category in timeline.categories), "total_bytes"])
    for span in timeline.spans:
        for number in range(span.start, span.end):
            change = timeline.changes[number]
            row = (number, span.phase, change.name, change.block, change.category, change.num_bytes)
            rows.writerow([*row, *change.live, change.total_bytes])
    return file.getvalue().encode()

"""Renders a timeline as one HTML file: a picture that follows the pointer, and the tensors alive at the peak."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from planner.records.verification import Verification
from planner.report.parts.format import gib, grouped
from planner.report.timeline.picture import DECIMALS, Picture, picture_of
from planner.report.timeline.svg import svg
from planner.report.verify import PEFT

if TYPE_CHECKING:
    from planner.replay.recording.timeline import Timeline

TENSOR_DECIMALS = 3
"""Decimals of GiB of a tensor."""


def render(timeline: Timeline, verification: Verification) -> bytes:
    """Returns the file."""
    picture = picture_of(timeline, verification)
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(picture.title),
        strategy=escape(picture.strategy),
        verdict=escape(picture.verdict),
        fits="fits" if verification.fits else "over",
        peak=_data(timeline.changes[picture.peak].total_bytes),
        phase=escape(timeline.phase_at(picture.peak)),
        explanation=escape(picture.explanation),
        svg=svg(picture),
        categories="\n".join(_categories(picture)),
        tensors="\n".join(_tensors(verification)),
        points=_points(picture),
    )
    return page.encode()


def _data(num_bytes: int, decimals: int = DECIMALS) -> str:
    """Returns GiB to read, with the bytes for programs."""
    return f'<data value="{num_bytes}" title="{grouped(num_bytes)} bytes">{gib(num_bytes, decimals)}</data>'


def _categories(picture: Picture) -> Iterator[str]:
    """Yields the rows of the legend, from the top of the picture down."""
    for band in reversed(picture.bands):
        yield (
            f'<tr><th scope="row"><i style="background:{band.category.colour}"></i>{band.category.label}</th>'
            f"<td>{_data(band.at_peak)}</td><td></td></tr>"
        )
    total = _data(picture.timeline.changes[picture.peak].total_bytes)
    yield f'<tr class="total"><th scope="row">all</th><td>{total}</td><td></td></tr>'


def _tensors(verification: Verification) -> Iterator[str]:
    for group in verification.peak_tensors:
        yield (
            f"<tr><td>{_data(group.num_bytes, TENSOR_DECIMALS)}</td><td>{grouped(group.tensors)}</td>"
            f"<td>{escape(group.category.replace('_', ' '))}</td><td>{escape(group.name.removeprefix(PEFT))}</td></tr>"
        )


def _points(picture: Picture) -> str:
    """Returns what the pointer asks for, as JSON in which each name stands once."""
    changes = [picture.timeline.changes[point] for point in picture.points]
    names = {name: i for i, name in enumerate(dict.fromkeys(change.name for change in changes))}
    spans = [(span.phase, span.start, span.end) for span in picture.timeline.spans]
    content = {
        "events": picture.points,
        "changes": [change.num_bytes for change in changes],
        "names": [name.removeprefix(PEFT) for name in names],
        "named": [names[change.name] for change in changes],
        "spans": spans,
        "live": [band.num_bytes for band in reversed(picture.bands)],
        "peak": picture.points.index(picture.peak),
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")

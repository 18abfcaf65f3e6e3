"""Writes stacked bars as HTML: parts in a row whose widths are shares, with a line where a budget ends."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple


class Segment(NamedTuple):
    """One part of a bar."""

    kind: str
    """Class of the element, which decides the color."""
    share: float
    """Of the whole width."""
    said: str
    """What is said when one points at it."""


def bar(segments: Sequence[Segment], limit: float | None = None) -> str:
    """Returns a bar.

    Args:
        segments: The parts.
        limit: Where the budget ends, as a share of the whole width; None for no line.
    """
    parts = "".join(
        f'<i class="{s.kind}" style="width:{100 * s.share:.2f}%" data-tip="{escape(s.said)}"></i>'
        for s in segments
        if s.share > 0
    )
    end = f'<b class="limit" style="left:{100 * limit:.2f}%"></b>' if limit is not None else ""
    return f'<div class="bar">{parts}{end}</div>'


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Returns a legend.

    Args:
        entries: For each part the class of its color, its name, and its number.
    """
    items = "".join(
        f'<li><i class="{kind}"></i>{escape(name)} <b>{escape(number)}</b></li>' for kind, name, number in entries
    )
    return f'<ul class="legend">{items}</ul>'

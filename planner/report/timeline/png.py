"""Draws a timeline as a picture for papers, slides and issues; needs matplotlib, the extra `plot`."""

from __future__ import annotations

import textwrap
import warnings
from io import BytesIO
from typing import TYPE_CHECKING

from planner.report.timeline.plain import plain_matplotlib

with plain_matplotlib():  # around the first import of any of it
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.transforms import blended_transform_factory

from planner.records.verification import Verification
from planner.report.parts.format import gib
from planner.report.timeline.picture import DECIMALS, Picture, picture_of, spread

if TYPE_CHECKING:
    from planner.replay.recording.timeline import Timeline

INCHES = (13.0, 6.2)
"""Width and height."""
DOTS_PER_INCH = 150
_CHARACTERS = 150
"""Most characters of small text in a line across the figure."""
_LABEL_HEIGHT = 0.042
"""Height of a label at the right, as a share of the axes' height."""
_NARROW = 0.07
"""Width of a phase below which its name does not fit, so the name begins where the phase does; a share of the axes'
width."""
_EDGE = 0.7
"""Width of a band's edge in points."""
_LEGEND_COLUMNS = 4
_STYLES = {"peak": ("black", ":"), "reserved": ("dimgray", "--"), "budget": ("#CF222E", "-")}
"""Color and line style of each level."""


def render(timeline: Timeline, verification: Verification) -> bytes:
    """Returns the file, drawn with matplotlib's own settings.

    Names are written as they are: `$` begins no formula.
    """
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters that the font lacks
        return _drawn(picture_of(timeline, verification))


def _drawn(picture: Picture) -> bytes:
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.055, 0.185, 0.795, 0.615))
    _bands(axes, picture)
    _phases(axes, picture)
    _lines(axes, picture)
    _axis(axes, picture)
    _words(figure, picture)
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _bands(axes: Axes, picture: Picture) -> None:
    """Draws each band from its upper edge down to the ground, the lower ones over it.

    A level lasts until the next event. Bands have an edge, since an event is narrower than a dot of the picture.
    """
    points = [*picture.points, len(picture.timeline.changes)]
    for band in reversed(picture.bands):
        tops = [*band.tops, band.tops[-1]]
        colour = band.category.colour
        axes.fill_between(points, 0, tops, step="post", color=colour, linewidth=_EDGE, joinstyle="bevel")


def _phases(axes: Axes, picture: Picture) -> None:
    events = len(picture.timeline.changes)
    above = blended_transform_factory(axes.transData, axes.transAxes)
    for i, span in enumerate(picture.timeline.spans):
        if i % 2 == 0:
            axes.axvspan(span.start, span.end, color="0.95", zorder=0, linewidth=0)
        if i:
            axes.axvline(span.start, color="black", alpha=0.4, linewidth=0.8)
        narrow = (span.end - span.start) / events < _NARROW
        place, alignment = (span.start, "left") if narrow else ((span.start + span.end) / 2, "center")
        axes.text(place, 1.015, span.phase, transform=above, ha=alignment, va="bottom", fontsize=10)


def _lines(axes: Axes, picture: Picture) -> None:
    shares = [min(1.0, line.num_bytes / picture.height_bytes) for line in picture.lines]
    places = [1 - place for place in spread([1 - share for share in shares], _LABEL_HEIGHT)]
    for line, share, place in zip(picture.lines, shares, places, strict=True):
        colour, style = _STYLES[line.kind]
        if not line.beyond:
            axes.axhline(line.num_bytes, color=colour, linestyle=style, linewidth=1.2)
        axes.annotate(
            line.label,
            xy=(1, share),
            xytext=(1.018, place),
            xycoords="axes fraction",
            arrowprops=None if line.beyond else {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkB": 0},
            color=colour,
            fontsize=10,
            va="center",
            fontweight="bold" if line.kind == "peak" else "normal",
            annotation_clip=False,
        )
    peak = picture.timeline.changes[picture.peak].total_bytes
    axes.plot([picture.peak + 0.5], [peak], "o", color="black", markerfacecolor="white", markersize=7, clip_on=False)


def _axis(axes: Axes, picture: Picture) -> None:
    axes.set_xlim(0, len(picture.timeline.changes))
    axes.set_ylim(0, picture.height_bytes)
    axes.set_yticks([num_bytes for num_bytes, _ in picture.ticks], [text for _, text in picture.ticks])
    axes.set_xticks([])
    axes.set_xlabel("allocations and frees of one steady step, in order")
    axes.set_ylabel("live tensors, GiB")
    axes.spines[["top", "right"]].set_visible(False)


def _words(figure: Figure, picture: Picture) -> None:
    left = 0.055
    figure.text(left, 0.955, picture.title, fontsize=14, fontweight="bold", va="center")
    figure.text(left, 0.91, textwrap.shorten(picture.strategy, _CHARACTERS), fontsize=10, va="center")
    phase = picture.timeline.phase_at(picture.peak)
    figure.text(left, 0.87, f"{picture.verdict}; the peak is in {phase}", fontsize=10, va="center")
    entries = [
        Patch(color=band.category.colour, label=f"{band.category.label} {gib(band.at_peak, DECIMALS)}")
        for band in picture.bands
    ]
    figure.legend(
        handles=entries,
        title="GiB at the peak",
        loc="lower left",
        bbox_to_anchor=(left - 0.008, 0.01),
        ncols=_LEGEND_COLUMNS,
        frameon=False,
        fontsize=9.5,
        title_fontsize=9.5,
        alignment="left",
    )

"""Timelines as files."""

import builtins
import csv
import json
import re
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from planner import MissingExtraError, OutputFileError
from planner.replay.recording.timeline import Change, Span, Timeline, timeline_of
from planner.report.parts.categories import CATEGORIES, STACKED
from planner.report.timeline import renderer_of
from planner.report.timeline.formats import FORMATS
from planner.report.timeline.picture import MOST_POINTS, picture_of, spread, thinned
from planner.verification.replayed import Verified

LARGEST_FILE = 2**20
VOID = {"meta"}


@pytest.fixture(scope="module")
def timeline(verified: Verified) -> Timeline:
    return timeline_of(verified.trace, STACKED)


@pytest.fixture(scope="module")
def page(timeline: Timeline, verified: Verified) -> str:
    return renderer_of(Path("x.html"))(timeline, verified.verification).decode()


def test_every_category_has_its_place_in_the_stack() -> None:
    assert sorted(STACKED) == sorted(category.field for category in CATEGORIES)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_makes_a_file_of_a_sensible_size(suffix: str, timeline: Timeline, verified: Verified) -> None:
    assert 1000 < len(renderer_of(Path(f"x{suffix}"))(timeline, verified.verification)) < LARGEST_FILE


@pytest.mark.parametrize("name", ["x.pdf", "x", ".html"])
def test_an_unknown_suffix_lists_the_formats(name: str) -> None:
    with pytest.raises(OutputFileError) as refused:
        renderer_of(Path(name))
    assert refused.value.hint == "one of .html, .png, .csv"


def test_without_matplotlib_the_hint_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("no", name="matplotlib")
        return real(name, *arguments)

    monkeypatch.delitem(__import__("sys").modules, "planner.report.timeline.png", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError) as missing:
        renderer_of(Path("x.png"))
    assert (missing.value.message, missing.value.hint) == (
        "a .png timeline needs matplotlib",
        "pip install 'matplotlib>=3.8'",
    )


def test_the_table_has_every_event_and_the_peak_of_every_phase(timeline: Timeline, verified: Verified) -> None:
    content = renderer_of(Path("x.csv"))(timeline, verified.verification).decode()
    rows = list(csv.DictReader(StringIO(content)))
    assert [int(row["event"]) for row in rows] == list(range(len(timeline.changes)))
    peaks: dict[str, int] = {}
    for row, before in zip(rows, [rows[0], *rows], strict=False):
        total, level = int(row["total_bytes"]), int(before["total_bytes"])
        assert sum(int(row[f"{category}_bytes"]) for category in STACKED) == total
        assert total - level == int(row["change_bytes"])
        peaks[row["phase"]] = max(peaks.get(row["phase"], 0), total, level)
    assert peaks == {name: phase.replay_bytes for name, phase in verified.verification.phases.items()}


def test_the_page_is_well_formed_and_asks_for_nothing(page: str) -> None:
    class Balanced(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not {"src", "href", "srcset"} & {name for name, _ in attrs}
            if tag not in VOID:
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in {"rect", "line", "path", "circle"}

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"https?://|@import|url\(|fetch\(|import ", page)
    assert "$" not in page


def test_the_page_shows_the_peak_and_what_is_alive_then(page: str, verified: Verified) -> None:
    result = verified.verification
    peak = max(phase.replay_bytes for phase in result.phases.values())
    assert f'<data value="{peak}"' in page
    assert f"GiB in {result.peak_phase}</p>" in page
    tensors = page.partition('id="tensors"')[2]
    found = [int(value) for value in re.findall(r'<data value="(\d+)"', tensors)]
    assert found == [group.num_bytes for group in result.peak_tensors]
    assert sum(found) == peak


def test_what_the_pointer_asks_for_holds_the_peak(page: str, timeline: Timeline) -> None:
    points = json.loads(page.partition('id="points">')[2].partition("</script>")[0])
    at = points["peak"]
    assert points["events"][at] == timeline.peak
    assert sum(band[at] for band in points["live"]) == timeline.changes[timeline.peak].total_bytes
    assert all(len(band) == len(points["events"]) == len(points["named"]) for band in points["live"])


def test_a_png_is_one(timeline: Timeline, verified: Verified) -> None:
    content = renderer_of(Path("x.PNG"))(timeline, verified.verification)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1950, 930)


def saw(events: int) -> Timeline:
    changes = [Change("x", "temporary", 1, ((i * 7919) % 10007,)) for i in range(events)]
    return Timeline(("temporary",), changes, [Span("forward", 0, events // 3), Span("backward", events // 3, events)])


@pytest.mark.parametrize("events", [3, 1999, 2001, 50_000])
def test_a_thinned_timeline_has_few_points_and_the_extremes_of_every_column(events: int) -> None:
    timeline, points = saw(events), thinned(saw(events))
    assert len(points) <= MOST_POINTS
    totals = [change.total_bytes for change in timeline.changes]
    assert timeline.peak in points
    assert {0, events // 3 - 1, events // 3, events - 1} <= set(points)
    assert points == sorted(set(points))
    column = -(-events // (MOST_POINTS // 4 - len(timeline.spans)))
    for left, right in pairwise(points):
        near = [totals[point] for point in points if left - column <= point <= right + column]
        assert min(near) <= min(totals[left : right + 1])
        assert max(near) >= max(totals[left : right + 1])


def test_labels_that_are_too_near_move_down() -> None:
    assert spread([10.0, 4.0, 5.0], 4.0) == [12.0, 4.0, 8.0]
    assert spread([1.0, 20.0], 4.0) == [1.0, 20.0]


def test_a_distant_budget_is_named_and_a_near_one_drawn(timeline: Timeline, verified: Verified) -> None:
    picture = picture_of(timeline, verified.verification)
    peak, reserved, budget = picture.lines
    assert not peak.beyond
    assert not reserved.beyond
    assert budget.label == "↑ budget 13.70 GiB"
    assert picture.height_bytes < budget.num_bytes
    plan = verified.verification.plan
    small = plan.memory.model_copy(update={"budget_bytes": verified.verification.process_bytes * 5 // 4})
    near = verified.verification.model_copy(update={"plan": plan.model_copy(update={"memory": small})})
    drawn = picture_of(timeline, near)
    assert not drawn.lines[2].beyond
    assert drawn.height_bytes > drawn.lines[2].num_bytes

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from planner.report.parts.bars import legend, simple, stacked
from planner.report.parts.categories import CATEGORIES, FREE

SIZES = st.lists(st.integers(1, 2**40), min_size=1, max_size=len(CATEGORIES))


def parts(sizes: list[int]) -> list[tuple[object, int]]:
    return list(zip(CATEGORIES, sizes, strict=False))


@given(sizes=SIZES, width=st.integers(len(CATEGORIES), 200))
def test_a_stacked_bar_is_as_wide_as_asked_and_shows_every_part(sizes: list[int], width: int) -> None:
    bar = stacked(parts(sizes), width, ascii_only=False).plain
    assert len(bar) == width
    for category, _ in parts(sizes):
        assert category.glyph in bar


@given(sizes=SIZES, width=st.integers(len(CATEGORIES), 200))
def test_a_larger_part_never_has_fewer_cells(sizes: list[int], width: int) -> None:
    bar = stacked(parts(sizes), width, ascii_only=False).plain
    drawn = sorted((size, bar.count(category.glyph)) for category, size in parts(sizes))
    for (size, cells), (larger, more) in pairwise(drawn):
        assert cells <= more + 1, (size, larger)


@given(sizes=SIZES, width=st.integers(30, 200))
def test_a_legend_names_every_part_within_the_width(sizes: list[int], width: int) -> None:
    lines = legend(parts(sizes), width, ascii_only=False)
    assert all(len(line.plain) <= max(width, 40) for line in lines)
    text = " ".join(line.plain for line in lines)
    assert all(f"{category.glyph} {category.label} " in text for category, _ in parts(sizes))


def test_categories_differ_in_character_in_ascii_and_in_colour() -> None:
    everything = (*CATEGORIES, FREE)
    for aspect in ("glyph", "ascii", "style"):
        assert len({getattr(category, aspect) for category in everything}) == len(everything)


def test_a_simple_bar_is_proportional_and_never_empty_for_something() -> None:
    assert [len(simple(size, 100, 50, ascii_only=True)) for size in (0, 1, 50, 100)] == [0, 1, 25, 50]
    assert simple(0, 0, 50, ascii_only=True) == ""

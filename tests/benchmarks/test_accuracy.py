"""What the pages say of benchmarks/recorded/accuracy.jsonl."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import accuracy
from recorded.replays import Errors

HOME = Path(__file__).parents[2]


@cache
def errors() -> list[Errors]:
    return accuracy.all_errors(accuracy.read_record())


def test_every_cell_is_recorded() -> None:
    assert len(errors()) == len(accuracy.cells()) == len(accuracy.read_record())


def test_the_page_says_how_far_the_model_is_from_the_replays() -> None:
    page = (HOME / "docs" / "accuracy.md").read_text()
    assert "\n".join(accuracy.summary(errors())) in page
    assert f"{len(accuracy.MODELS)} architectures x {len(accuracy.STRATEGIES)} strategies" in page


def test_the_readme_says_no_more_than_that() -> None:
    said = f"{len(errors())} peaks of {len(accuracy.MODELS)} architectures are within 0.02%"
    assert said in (HOME / "README.md").read_text()
    assert max(abs(e.peak) for e in errors()) < 0.0002

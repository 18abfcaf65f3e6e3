"""What would fit stands last, as much of it as a screen has room for, and nothing of it is lost."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from planner.cli import main
from planner.report.fit.answer import LINES

ASKED = ["fit", "gemma-3-4b", "--gpu", "RTX-4090", "--finetuning", "full"]


@pytest.fixture(scope="module")
def ways() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(CliRunner().invoke(main, [*ASKED, "--json"]).stdout)["shortfall"]["ways"]
    return found


def answer(*more: str, columns: str = "80") -> str:
    return CliRunner().invoke(main, [*ASKED, *more], env={"COLUMNS": columns}).stdout


def numbers(text: str) -> list[int]:
    """Numbers of the ways that an answer shows."""
    return [int(line.partition(".")[0]) for line in text.splitlines() if line[:3].strip().isdigit() and line[3] == "."]


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_ways_are_the_last_thing_above_the_prompt_and_fit_on_a_screen(columns: str) -> None:
    _, heading, shown = answer(columns=columns).partition("\n  what would fit, by what it costs\n")
    assert heading
    assert len(shown.splitlines()) + 2 <= LINES
    assert "searched" not in shown


def test_the_cheapest_of_each_kind_of_cost_is_shown_under_its_own_number(ways: list[dict[str, str]]) -> None:
    shown = numbers(answer())
    costs = [way["cost"] for way in ways]
    assert {costs[number - 1] for number in shown} == set(costs)
    assert {costs.index(cost) + 1 for cost in costs} <= set(shown)
    assert f"  {len(ways) - len(shown)} more: --notes" in answer()


def test_all_ways_are_shown_where_they_are_asked_for(ways: list[dict[str, str]]) -> None:
    assert numbers(answer("--notes")) == list(range(1, len(ways) + 1))
    assert "more: --notes" not in answer("--notes")

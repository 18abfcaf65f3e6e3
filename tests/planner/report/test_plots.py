"""Pictures in characters: what lies where, that they fit the terminal, and that they can do without Unicode."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from planner import EstimateResult, FitResult, estimate, fit
from planner.cli import main
from planner.report.plots.answer import plotted
from planner.report.plots.canvas import Canvas
from planner.report.plots.chart import HEIGHT, Chart
from planner.report.plots.scatter import Scatter

CHART = Chart("GiB", [(1, 1.0), (2, 2.0), (4, 4.0)], (2, 2.0), 4.0, str, lambda y: f"{y:.1f}", False, "")


def drawn(what: Any, columns: int = 80, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    Console(file=file, width=columns, color_system=None).print(what, crop=False)
    file.seek(0)
    return file.read().splitlines()


@pytest.fixture(scope="module")
def estimated() -> EstimateResult:
    return estimate("llama-2-7b", gpu="A100-40GB", finetuning="lora", checkpointing="full", micro_batch_size=10)


@pytest.fixture(scope="module")
def found() -> FitResult:
    return fit("llama-2-7b", gpu="A100-40GB")


def plain(canvas: Canvas) -> list[str]:
    return [row.plain for row in canvas.rows()]


def test_a_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    canvas = Canvas(4, 2, ascii_only=False)
    canvas.line([(0, 0), (1, 1)], "")
    assert plain(canvas) == ["  ⣠⠞", "⣠⠞⠁ "]
    canvas = Canvas(4, 2, ascii_only=True)
    canvas.line([(0, 0), (1, 1)], "")
    assert plain(canvas) == ["  **", "*** "]


def test_what_is_above_is_left_out_and_marks_lie_over_lines_over_levels() -> None:
    canvas = Canvas(6, 3, ascii_only=True)
    canvas.line([(0, 0.5), (1, 0.5)], "")
    canvas.line([(0, 1.5), (1, 2)], "")
    canvas.level(0.9, "-", "")
    canvas.level(0.5, "-", "")
    canvas.mark(1, 0.5, "O", "")
    assert plain(canvas) == ["------", "*****O", "      "]


def test_a_place_is_free_until_something_is_written_there_or_beside_it() -> None:
    canvas = Canvas(9, 1, ascii_only=True)
    canvas.mark(0.5, 0, "10", "")
    assert plain(canvas) == ["    10   "]
    assert [x for x in range(9) if canvas.is_free(x / 9, 0, 1)] == [0, 1, 2, 7, 8]


def test_a_chart_has_its_numbers_its_budget_and_the_plan() -> None:
    rows = [row.plain for row in CHART.rows(30, ascii_only=True)]
    assert len(rows) == HEIGHT + 2
    assert {len(row) for row in rows} == {30}
    assert rows[0].strip() == "GiB"
    assert [rows[i][:4] for i in (1, 5, 9)] == ["4.6|", "2.3|", "0.0|"]
    assert rows[2].count("-") > 15
    assert sum(row.count("O") for row in rows[1:]) == 1
    assert rows[-1].split() == ["1", "2", "4"]


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_pictures_fit_the_terminal(estimated: EstimateResult, found: FitResult, columns: int, encoding: str) -> None:
    for result in (estimated, found):
        lines = drawn(plotted(result), columns, encoding)
        assert max(map(len, lines)) <= columns
        assert not [line for line in lines if line != line.rstrip()]
        assert encoding != "ascii" or "".join(lines).isascii()
        text = "\n".join(lines)
        for said in ("start of backward", "GiB over micro-batch", "tokens/s over tokens per sequence", "the budget"):
            assert said in text


def test_every_place_of_a_ranking_is_drawn_or_said(found: FitResult) -> None:
    text = "\n".join(drawn(Scatter(found.listed, found.recommended)))
    numbers = set(text.replace("│", " ").replace(",", " ").split())
    assert {str(number) for number in range(1, len(found.listed) + 1)} <= numbers


def test_plans_of_one_batch_stand_in_the_middle(found: FitResult) -> None:
    lines = drawn(Scatter(found.plans[:1], found.plans[0]), 60)
    assert lines[-1].strip() == str(found.plans[0].global_batch_size)
    assert 25 < lines[-1].index(str(found.plans[0].global_batch_size)) < 35


def test_the_command_draws_behind_its_report() -> None:
    asked = ["estimate", "pythia-70m", "--gpu", "T4", "--precision", "fp16-mixed"]
    alone, with_plot = (CliRunner().invoke(main, [*asked, *more]) for more in ([], ["--plot"]))
    assert (alone.exit_code, with_plot.exit_code) == (0, 0)
    assert with_plot.stdout.startswith(alone.stdout)
    assert "GiB over micro-batch" in with_plot.stdout.removeprefix(alone.stdout)


def test_a_search_is_drawn_before_its_report_which_stays_last_above_the_prompt() -> None:
    asked = ["fit", "pythia-70m", "--gpu", "T4", "--finetuning", "lora"]
    alone, with_plot = (CliRunner().invoke(main, [*asked, *more]).stdout for more in ([], ["--plot"]))
    alone = re.sub(r"in [0-9.]+ m?s", "", alone)
    shown = re.sub(r"in [0-9.]+ m?s", "", with_plot)
    assert "tokens/s over effective batch" in shown
    assert shown.splitlines()[-1] == alone.splitlines()[-1]
    assert shown.index("GiB over micro-batch") < shown.index("pythia-70m, ")


def test_nothing_is_drawn_where_nothing_fits() -> None:
    assert drawn(plotted(fit("llama-2-70b", gpu="T4"))) == []

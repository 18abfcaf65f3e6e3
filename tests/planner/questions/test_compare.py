"""Tests of plans laid side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.text import Text

from planner import Comparison, PlanFileError, RequestError, compare, estimate, fit
from planner.cli import main
from planner.report.parts.beside import beside
from planner.report.parts.table import Column


@pytest.fixture(autouse=True)
def no_user_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)


def test_each_plan_has_a_column_that_is_named_by_what_distinguishes_it() -> None:
    small, large = fit("gpt2", gpu="T4", top=1), fit("gpt2", gpu="H100", gpus=2, top=1)
    result = compare(small, large)
    assert [column.title for column in result.columns] == ["1 x T4", "2 x H100-80GB-SXM"]
    assert [column.plan for column in result.columns] == [small.recommended, large.recommended]
    assert result.fits
    assert repr(result) == "<Comparison: 2 plans, 2 fit>"
    assert Comparison.model_validate(json.loads(result.model_dump_json())) == result


def test_options_lengths_and_equal_plans_are_told_apart() -> None:
    lora, full = (fit("gpt2", gpu="T4", finetuning=method, top=1) for method in ("lora", "full"))
    assert [column.title for column in compare(lora, full).columns] == ["lora", "full"]
    short, long = (fit("gpt2", gpu="T4", sequence_length=length, top=1) for length in (128, 1024))
    assert [column.title for column in compare(short, long).columns] == ["128 tokens", "1024 tokens"]
    assert [column.title for column in compare(lora, lora).columns] == ["lora #1", "lora #2"]


def test_what_does_not_fit_stands_beside_what_does_and_is_named() -> None:
    fits, does_not = (fit("llama-2-7b", gpu="T4", finetuning=method, top=1) for method in ("qlora", "full"))
    result = compare(fits, does_not)
    assert not result.fits
    assert str(result).splitlines()[-1].strip() == "does not fit: full"


def test_answers_files_and_estimates_are_plans_too(tmp_path: Path) -> None:
    itemised = estimate("gpt2", gpu="T4")
    file = tmp_path / "plan.json"
    file.write_text(itemised.model_dump_json())
    first, second = compare(itemised, file).columns
    assert first.plan == second.plan
    with pytest.raises(PlanFileError):
        compare(itemised, str(tmp_path / "no.json"))


def test_one_plan_and_too_many_are_refused() -> None:
    plan = estimate("gpt2", gpu="T4")
    with pytest.raises(RequestError, match="1 plan cannot be laid side by side"):
        compare(plan)
    with pytest.raises(RequestError, match="9 plans cannot be laid side by side"):
        compare(*[plan] * 9)
    with pytest.raises(RequestError, match="3 is no plan"):
        compare(plan, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("gpt2", "--gpu", "T4,L4", "--finetuning", "lora"), 0, "1 x T4"),
        (("gpt2", "--gpu", "T4", "--checkpointing", "none", "--checkpointing", "full"), 0, "full"),
        (("gpt2", "--gpu", "T4", "--sequence-length", "128,256"), 0, "256 tokens"),
        (("llama-2-7b", "--gpu", "T4,A100", "--finetuning", "full"), 1, "does not fit: 1 x T4"),
        (("gpt2", "--gpu", "T4,A100", "--json"), 0, '"columns"'),
        (("gpt2", "qwen2.5-0.5b", "--gpu", "T4"), 0, "qwen2.5-0.5b"),
        (("gpt2",), 2, ""),
        (("gpt2", "--gpu", "T4"), 2, ""),
        (("a.json", "b.json"), 2, ""),
    ],
)
def test_the_command_plans_what_it_lays_side_by_side_and_says_by_its_code_what_does_not_fit(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == code
    assert said in result.stdout


FOUR = ("compare", "gpt2", "--gpu", "A100-40GB,H100,L4,RTX-4090", "--finetuning", "lora")


@pytest.mark.parametrize(("columns", "tables"), [(120, 1), (80, 1), (60, 2), (40, 4)])
def test_plans_stand_beside_each_other_in_as_few_tables_as_words_stand_whole_in(
    columns: int, tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = CliRunner().invoke(main, FOUR).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    speeds = [line.split()[1:] for line in lines if line.startswith("  tokens/s")]
    assert [len(speed) for speed in speeds] == [4 // tables] * tables
    plans = [fit("gpt2", gpu=name, finetuning="lora").recommended for name in FOUR[3].split(",")]
    assert [number for speed in speeds for number in speed] == [f"{p.time.tokens_per_second:,.0f}" for p in plans]


def test_cells_that_wrap_keep_their_line_and_results_what_they_are_of() -> None:
    names = Column("", ["method", "batch"])
    plans = [
        Column("1 x A100-40GB-SXM", ["qlora nf4-double", "1 x 64 x 1 = 64"], True),
        Column("b", ["lora", "4"], True),
    ]
    assert [line.plain if isinstance(line, Text) else line for line in beside(names, plans, 29)] == [
        "                    1 x",
        "          A100-40GB-SXM     b",
        "  method          qlora  lora",
        "             nf4-double",
        "  batch      1 x 64 x 1     4",
        "                   = 64",
    ]

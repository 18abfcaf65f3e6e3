"""Tests of sweeps, against a search for each row alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from planner import MissingExtraError, PlannerError, SweepFileError, SweepResult, fit, sweep
from planner.cli import main
from planner.sweeps import run
from planner.sweeps.tables import COLUMNS

MODELS = ("gpt2", "qwen2.5-0.5b")
ASKED: dict[str, Any] = {"gpu": ("T4", "L4", "p3.2xlarge"), "sequence_length": (256, 512), "jobs": 1}


@pytest.fixture(autouse=True)
def no_user_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)


@pytest.fixture(scope="module")
def swept() -> SweepResult:
    return sweep(MODELS, **ASKED)


def test_there_is_a_row_for_each_model_machine_length_and_method(swept: SweepResult) -> None:
    keys = [(row.model, row.sequence_length, row.machine, row.method) for row in swept.rows]
    machines, methods = ("T4", "L4", "p3.2xlarge"), ("full", "lora", "qlora")
    assert keys == [(m, n, g, f) for m in MODELS for n in (256, 512) for g in machines for f in methods]
    assert {row.gpu for row in swept.rows} == {"T4", "L4", "V100-16GB-SXM"}


def test_a_row_has_the_best_plan_that_a_search_of_its_method_finds(swept: SweepResult) -> None:
    for row in swept.rows:
        assert row.machine
        alone = fit(row.model, gpu=row.machine, sequence_length=row.sequence_length, top=1)
        (best,) = (plan for plan in alone.best_by_method if plan.strategy.finetuning == row.method)
        assert row.global_batch_size == best.global_batch_size
        assert row.process_bytes == best.memory.process_bytes
        assert row.tokens_per_second == pytest.approx(best.time.tokens_per_second)
        assert row.usd_per_million_tokens == pytest.approx(best.usd_per_million_tokens)
        assert (row.precision, row.checkpointing) == (best.strategy.precision, best.strategy.checkpointing)


def test_several_processes_find_the_same_rows(swept: SweepResult) -> None:
    assert sweep(MODELS, **{**ASKED, "jobs": 2}).rows == swept.rows


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_holds_the_rows_and_what_it_holds_is_not_done_again(
    ending: str, swept: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"rows.{ending}"
    assert sweep(MODELS, **ASKED, output=file).rows == swept.rows
    monkeypatch.setattr(run, "rows_of", None)
    again = sweep(MODELS, **ASKED, output=file)
    assert (again.rows, again.reused) == (swept.rows, len(swept.rows))


def test_an_interrupted_sweep_keeps_its_rows_and_goes_on(
    swept: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, done = tmp_path / "rows.csv", []
    solve = run.rows_of

    def interrupted(asked: Any, model: str, length: int | None) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append((model, length))
        return solve(asked, model, length)

    monkeypatch.setattr(run, "rows_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(MODELS, **ASKED, output=file)
    assert len(file.read_text().splitlines()) == 1 + len(swept.rows) // 2
    monkeypatch.setattr(run, "rows_of", solve)
    result = sweep(MODELS, **ASKED, output=file)
    assert (result.rows, result.reused) == (swept.rows, len(swept.rows) // 2)
    assert file.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_file_keeps_the_rows_of_models_that_are_not_asked_for_again(swept: SweepResult, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    sweep(MODELS[0], **ASKED, output=file)
    result = sweep(MODELS[1], **ASKED, output=file)
    assert {row.model for row in result.rows} == {MODELS[1]}
    assert len(file.read_text().splitlines()) == 1 + len(swept.rows)


def test_a_file_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(SweepFileError, match="holds no rows of a sweep: its columns are not those of a sweep"):
        sweep("gpt2", gpu="T4", output=file)
    assert file.read_text() == "a,b\n1,2\n"
    file.unlink()
    sweep("gpt2", gpu="T4", output=file)
    with pytest.raises(SweepFileError, match="holds rows of another sweep, which asked something else"):
        sweep("gpt2", gpu="T4", objective="throughput", output=file)
    with pytest.raises(SweepFileError, match=r"ends in none of .csv, .parquet"):
        sweep("gpt2", gpu="T4", output=tmp_path / "rows.txt")


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="a Parquet file needs pyarrow"):
        sweep("gpt2", gpu="T4", output=tmp_path / "rows.parquet")


def test_what_cannot_be_planned_has_a_row_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    asked: dict[str, Any] = {"gpu": "T4", "sequence_length": 4096, "finetuning": "lora", "output": file}
    result = sweep(["gpt2", "no-such-model", "qwen2.5-0.5b"], **asked)
    assert [row.reason for row in result.rows] == [
        "sequence_length=4096 is longer than the 1024 learned positions of gpt2",
        "unknown model 'no-such-model'",
        None,
    ]
    assert sweep(["gpt2", "no-such-model"], **asked).reused == 2
    assert "gpt2: sequence_length=4096 is longer" in str(result)


def test_machines_that_cannot_divide_the_batch_have_a_row_with_the_reason() -> None:
    result = sweep("gpt2", gpu="T4", gpus=(2, 3), global_batch_size=8, finetuning="full")
    assert [(row.gpus, row.fits, row.reason) for row in result.rows] == [
        (2, True, None),
        (3, False, "a global batch of 8 cannot be divided over 3 GPUs"),
    ]


def test_a_sweep_survives_a_round_trip_through_json_and_reads_as_a_table(
    swept: SweepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert SweepResult.model_validate(json.loads(swept.model_dump_json())) == swept
    assert repr(swept) == f"<SweepResult: {sum(r.fits for r in swept.rows)} of {len(swept.rows)} combinations fit>"
    assert "3 of 3" in str(swept)
    one = str(sweep(MODELS, gpu="T4", sequence_length=256))
    assert one.splitlines()[-1].strip() == (
        "largest that fits on 1 x T4: full qwen2.5-0.5b, lora qwen2.5-0.5b, qlora qwen2.5-0.5b"
    )
    with pytest.raises(PlannerError, match="a sweep is of at least one model"):
        sweep([], gpu="T4")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("gpt2", "--gpu", "T4"), 0, "largest that fits on 1 x T4: full gpt2"),
        (("gpt2", "qwen2.5-0.5b", "--gpu", "T4,L4", "--sequence-length", "128,256"), 0, "24 of 24 combinations fit"),
        (("llama-3-70b", "--gpu", "T4", "--finetuning", "full", "--jobs", "1"), 1, "full none"),
        (("gpt2", "--gpu", "T4", "--json"), 0, '"rows"'),
        (("gpt2", "--gpu", "T4", "-o", "rows.txt"), 2, "rows.txt ends in none of .csv, .parquet"),
        (("gpt2", "--gpu", "T4", "--jobs", "0"), 2, "jobs is 0, which is not a positive whole number"),
    ],
)
def test_the_command_sweeps_and_says_by_its_code_whether_anything_fits(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = CliRunner().invoke(main, ["sweep", *arguments])
    assert result.exit_code == code
    assert said in result.stdout + result.stderr

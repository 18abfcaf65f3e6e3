"""What a run measured is laid beside what its plan predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from planner import MeasuredFileError, measured
from planner.cli import main
from planner.records.measurement import Measurement

GIB = 1 << 30
PREDICTED = {
    "model": "llama-2-7b",
    "gpu": "A100-40GB-SXM",
    "gpus": 8,
    "global_batch_size": 64,
    "allocated_bytes": 30 * GIB,
    "reserved_bytes": 31 * GIB,
    "process_bytes": 32 * GIB,
    "torch": "2.13.0",
    "step_seconds": 2.0,
    "step_seconds_low": 1.8,
    "step_seconds_high": 2.4,
}
RUN = {
    "torch": "2.13.0+cu130",
    "steps": 20,
    "step_seconds": 2.2,
    "losses": [2.5, 2.0],
    "global_batch_size": 64,
    "trained_parameters": 1000,
    "gpu": "NVIDIA A100-SXM4-40GB",
    "allocated_bytes": 30 * GIB,
    "reserved_bytes": 32 * GIB,
    "process_bytes": 32 * GIB,
    "predicted": PREDICTED,
}


def of(folder: Path, *runs: dict[str, Any]) -> Measurement:
    (folder / "measured.jsonl").write_text("".join(f"{json.dumps(run)}\n" for run in runs))
    return measured(folder / "measured.jsonl")


def test_differences_are_of_the_prediction(tmp_path: Path) -> None:
    (run,) = of(tmp_path, RUN).runs
    found = {deviation.name: deviation.difference for deviation in run.deviations}
    assert found == {"allocated": 0, "reserved": 31 / 32 - 1, "process": 0, "step": 2.0 / 2.2 - 1}
    assert run.notes == ()
    assert Measurement.model_validate_json(of(tmp_path, RUN, RUN).model_dump_json()).runs == (run, run)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"global_batch_size": 32}, "the effective batch was 32, not 64"),
        ({"torch": "2.9.1"}, "torch was 2.9.1, and the plan assumes 2.13.0"),
        ({"steps": 2}, "of 2 steps"),
        ({"step_seconds": 2.5}, "outside of the range"),
        ({"allocated_bytes": 29 * GIB}, "torch's peak is further from the plan"),
        ({"gpu": None, "allocated_bytes": None, "reserved_bytes": None, "process_bytes": None}, "without a GPU"),
    ],
)
def test_what_was_not_as_planned_is_said(changed: dict[str, Any], note: str, tmp_path: Path) -> None:
    (run,) = of(tmp_path, {**RUN, **changed}).runs
    assert len(run.notes) == 1
    assert note in run.notes[0]
    assert note in " ".join(str(of(tmp_path, {**RUN, **changed})).split())


def test_the_command_compares_and_judges(tmp_path: Path) -> None:
    of(tmp_path, RUN)
    file = str(tmp_path / "measured.jsonl")
    done = CliRunner().invoke(main, ["measured", file, "--within", "5%"])
    assert done.exit_code == 0
    assert "reserved" in done.stdout
    assert "-3.1%" in done.stdout
    assert CliRunner().invoke(main, ["measured", file, "--within", "1%"]).exit_code == 1
    alone = {name: value for name, value in RUN.items() if not name.endswith("_bytes") and name != "gpu"}
    assert not of(tmp_path, alone).is_within(0.5)
    answer = json.loads(CliRunner().invoke(main, ["measured", "-", "--json"], input=json.dumps(RUN)).stdout)
    assert answer["runs"][0]["deviations"][1]["name"] == "reserved"


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"steps": 1}', "\n\n"])
def test_what_is_no_measurement_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(MeasuredFileError):
        measured(tmp_path / "m.jsonl")
    done = CliRunner().invoke(main, ["measured", str(tmp_path / "m.jsonl")])
    assert (done.exit_code, done.stdout) == (2, "")

"""One step along each axis: what another choice saves or costs is what `estimate` says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import estimate, explain
from planner.cli import main

SETUP = {"gpu": "T4", "finetuning": "lora", "precision": "fp16-mixed", "sequence_length": 256}


def test_each_step_is_what_an_estimate_with_that_choice_says() -> None:
    answer = explain("gpt2", micro_batch_size=2, **SETUP)
    assert {"precision", "checkpointing", "loss", "micro_batch_size", "sequence_length"} <= {
        s.option for s in answer.steps
    }
    for step in answer.steps:
        if step.option == "allocator":
            continue  # an estimate serves all requests of native segments, a step takes the usual amount
        value, *others = step.value.split(", ")  # qlora says what it leaves unquantized
        options = {step.option: int(value) if value.isdigit() else value, **dict(o.split() for o in others)}
        other = estimate("gpt2", **{"micro_batch_size": 2, **SETUP, **options})
        assert step.process_bytes == other.memory.process_bytes, step
        assert step.saved_bytes == answer.plan.memory.process_bytes - step.process_bytes
        assert step.fits == other.memory.fits


def test_groups_add_up_to_what_is_saved_but_for_what_parts_share() -> None:
    answer = explain("gpt2", micro_batch_size=2, **SETUP)
    tensors = sum(part.count * t.saved_bytes(2) for part in answer.parts for t in part.tensors)
    assert sum(group.num_bytes for group in answer.groups) == tensors
    assert [g.num_bytes for g in answer.groups] == sorted((g.num_bytes for g in answer.groups), reverse=True)


def test_a_plan_is_explained_from_its_file(tmp_path: Path) -> None:
    asked = ["gpt2", "--gpu", "T4", "--finetuning", "lora", "--micro-batch-size", "2"]
    file = tmp_path / "plan.json"
    file.write_text(CliRunner().invoke(main, ["estimate", *asked, "--json"]).stdout)
    explained = json.loads(CliRunner().invoke(main, ["explain", str(file), "--json"]).stdout)
    direct = json.loads(CliRunner().invoke(main, ["explain", *asked, "--json"]).stdout)
    assert explained["plan"] == direct["plan"]
    assert explained["steps"] == direct["steps"]


@pytest.mark.parametrize("option", [[], ["--saved"]])
def test_the_report_names_tensors(option: list[str]) -> None:
    shown = CliRunner().invoke(main, ["explain", "gpt2", "--gpu", "T4", *option])
    assert shown.exit_code == 0
    assert "saved for backward in all" in shown.stdout
    assert ("one step along an axis" in shown.stdout) == (not option)


def test_an_option_beside_a_plan_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(CliRunner().invoke(main, ["estimate", "gpt2", "--gpu", "T4", "--json"]).stdout)
    assert CliRunner().invoke(main, ["explain", str(file), "--gpus", "2"]).exit_code == 2

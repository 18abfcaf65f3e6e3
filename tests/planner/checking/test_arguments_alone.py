"""A launcher's or DeepSpeed's file whose recipe stands on the command line alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import PlannerError, check
from planner.cli import main
from planner.readers.documents.source import overrides_of

ZERO3 = {"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}
MODEL = "meta-llama/Meta-Llama-3-8B"


@pytest.fixture
def zero3(tmp_path: Path) -> str:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(ZERO3))
    return str(file)


def test_flags_and_pairs_say_the_same(zero3: str) -> None:
    flags = ["--model_name_or_path", MODEL, "--per-device-train-batch-size=2", "--bf16", "--learning_rate", "-1"]
    pairs = [f"model_name_or_path={MODEL}", "per_device_train_batch_size=2", "bf16=true", "learning_rate=-1"]
    assert overrides_of(flags) == pairs
    asked = ["check", zero3, "--gpu", "A100-80GB", "--gpus", "4", "--json", "--"]
    first, second = (CliRunner().invoke(main, [*asked, *words]) for words in (flags, pairs))
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    plan = json.loads(first.stdout)["plan"]
    assert (plan["micro_batch_size"], plan["strategy"]["sharding_backend"]) == (2, "deepspeed")


def test_the_model_makes_a_recipe_and_a_mistake_in_a_key_is_told(zero3: str) -> None:
    assert "none names a model" in check(zero3).refused[0].what
    small = {"per_device_train_batch_size": 1, "gradient_checkpointing": True}
    found = check(zero3, gpu="A100-80GB", gpus=4, overrides={"model_name_or_path": MODEL, **small})
    assert found.fits
    assert found.reading["model"].place.file == "command line"
    with pytest.raises(PlannerError, match="no file of this run has a key 'per_device_batch'"):
        check(zero3, overrides={"model_name_or_path": MODEL, "per_device_batch": 4})


def test_arguments_that_many_programs_take_are_trainers(zero3: str) -> None:
    said = {"model_name_or_path": MODEL, "bf16": True}
    plain, own = (check(zero3, overrides={**said, **more}) for more in ({}, {"use_peft": True}))
    assert (plain.framework, plain.reading["loss"].value) == ("transformers 5.24", "full")
    assert (own.framework, own.reading["loss"].value) == ("TRL 1.16", "chunked")

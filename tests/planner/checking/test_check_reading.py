"""What the files of a run say is read with its place, together and in order of precedence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes import AXOLOTL, FSDP, LLAMA_FACTORY, TRL, ZERO3, values, written

from hardware import PlannerError
from planner import CheckResult, check


def test_a_reading_has_the_place_of_each_value_and_the_source_of_each_default(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    result = check(file, gpu="RTX-4090", gpus=1)
    reading = result.reading
    assert reading["quantization"].value == "nf4-double"
    assert reading["quantization"].place is not None
    assert (reading["quantization"].place.file, reading["quantization"].place.line) == (file, 3)
    assert (reading["precision"].value, reading["checkpointing"].value) == ("bf16-mixed", "full-reentrant")
    assert reading["gradient_accumulation_steps"].place is None
    assert "axolotl 0.19" in reading["gradient_accumulation_steps"].why
    assert [key.key for key in result.without_effect] == ["wandb_project", "learning_rate"]
    assert [(key.key, key.line) for key in result.not_understood] == [("no_such_key", 12)]
    assert CheckResult.model_validate_json(result.model_dump_json()) == result


def test_the_json_that_a_recipe_names_is_read_with_it(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero/ds_z3.json").write_text(json.dumps(ZERO3))
    result = check(file, gpu="H100", gpus=8)
    assert result.files == (file, str(tmp_path / "zero/ds_z3.json"))
    read = values(result)
    assert (read["sharding"], read["sharding_backend"], read["reduce_bucket"]) == ("full_shard", "deepspeed", 0)
    assert (read["sub_group_size"], read["overlap_comm"]) == (0, "no")
    assert result.reading["sub_group_size"].why == "DeepSpeed 0.19, runtime/zero/config.py: 1,000,000,000"
    assert result.plan is not None
    # The file says it, and it is what is taken anyway: no command has to repeat it.
    assert (read["max_live_parameters"], result.plan.request.max_live_parameters) == (0, (0,))


def test_a_json_that_is_not_here_is_named(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    result = check(file)
    assert result.plan is None
    assert result.refused[0].what == "zero/ds_z3.json is not here: give it as another FILE"


def test_numbers_of_a_json_that_are_not_those_of_the_recipe_are_refused(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    other = tmp_path / "ds_z3.json"
    other.write_text(json.dumps({**ZERO3, "train_micro_batch_size_per_gpu": 4}))
    (refusal,) = check([file, other]).refused
    assert refusal.what == "micro_batch_size is 4 here and 1 in the recipe"


def test_a_launcher_says_gpus_and_engine(tmp_path: Path) -> None:
    files = written(tmp_path, fsdp=FSDP, sft=TRL)
    result = check(files, gpu="A100-40GB")
    read = values(result)
    assert (read["gpus"], read["sharding"], read["sharding_backend"]) == (2, "full_shard", "fsdp1")
    assert (read["precision"], read["loss"], read["sequence_length"]) == ("bf16-mixed", "chunked", 1024)
    assert result.on_gpus == ()
    assert result.plan is not None
    assert result.plan.data_parallel_size == 2
    assert check(files, gpu="A100-40GB", gpus=4).plan.data_parallel_size == 4  # type: ignore[union-attr]


def test_the_command_line_replaces_keys(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    result = check(file, gpu="H100", overrides=["micro_batch_size=3", "adapter=lora", "load_in_4bit=false"])
    assert result.reading["micro_batch_size"].value == 3
    assert result.reading["micro_batch_size"].place.line is None  # type: ignore[union-attr]
    assert result.reading["finetuning"].value == "lora"
    with pytest.raises(PlannerError, match="no file of this run has a key 'micro_batch_sise'"):
        check(file, overrides={"micro_batch_sise": 3})


def test_a_launcher_says_the_precision_where_the_recipe_does_not(tmp_path: Path) -> None:
    recipe = LLAMA_FACTORY.replace("bf16: true\n", "").replace("deepspeed: zero/ds_z3.json\n", "")
    files = written(tmp_path, fsdp=FSDP, recipe=recipe)
    setting = check(files).reading["precision"]
    assert setting.value == "bf16-mixed"
    assert setting.place is not None
    assert (setting.place.file, setting.place.key) == (files[0], "mixed_precision")


def test_older_trl_is_recognized_by_its_keys(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=TRL + "max_seq_length: 512\ntorch_dtype: bfloat16\nbf16: true\n")
    read = values(check(file, gpu="H100"))
    assert (read["sequence_length"], read["loss"], read["checkpointing"]) == (512, "full", "none")
    assert read["precision"] == "bf16-true"


def test_two_recipes_are_not_one_run(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="both are a recipe of a run"):
        check(written(tmp_path, a=AXOLOTL, b=TRL))


def test_keys_of_a_json_that_a_recipe_names_are_replaced(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero/ds_z3.json").write_text(json.dumps(ZERO3))
    result = check(file, gpu="H100", gpus=8, overrides=["zero_optimization.stage=2"])
    assert result.reading["sharding"].value == "shard_grad_op"

"""What a first `check` meets: misspelt keys, defaults that contradict, models of unknown names, packed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner import PlannerError, check
from planner.checking.fix import fix
from planner.models.names.closest import closest_model
from planner.readers.documents.misspelt import misspelt
from planner.readers.documents.overrides import overrides_of, parse_override
from planner.records.check import Change

LLAMA = {"model_name_or_path": "meta-llama/Llama-3.1-8B"}


def deepspeed(folder: Path, **more: Any) -> str:
    file = folder / "z3.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}, **more}))
    return str(file)


def test_numbers_that_are_not_the_default_of_the_arguments_are_refused_with_the_way_out(tmp_path: Path) -> None:
    file = deepspeed(tmp_path, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=8)
    found = check(file, gpu="H100", gpus=8, overrides=LLAMA, changes=False).refused
    assert len(found) == 2
    assert "nothing says per_device_train_batch_size, whose default is 8 (transformers 5.24" in found[0].what
    assert all("--per_device_train_batch_size 4 --gradient_accumulation_steps 8" in each.what for each in found)
    same = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}
    assert not check(file, gpu="H100", gpus=8, overrides={**LLAMA, **same}, changes=False).refused


@pytest.mark.parametrize(
    "recipe",
    [
        "base_model: openai/gpt-oss-20b\nsequence_len: 2048\nbf16: true\n",
        "model_name_or_path: openai/gpt-oss-20b\nstage: sft\nbf16: true\ncutoff_len: 512\nfinetuning_type: lora\n",
        "model: openai/gpt-oss-20b\ntrain_type: lora\nmax_length: 512\ntorch_dtype: bfloat16\n",
    ],
    ids=["axolotl", "llama-factory", "ms-swift"],
)
def test_what_a_run_leaves_to_transformers_is_eager_where_a_model_has_no_sdpa(recipe: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(recipe)
    found = check(str(file), gpu="H200", gpus=8)
    assert not found.refused
    said = found.reading["attention"]
    assert (said.value, said.why) == ("eager", "transformers runs gpt-oss-20b without SDPA")


@pytest.mark.parametrize("flags", ["--num_train_epochs 3", "--deepspeed z3.json", "--fsdp full_shard"])
def test_a_script_of_unknown_name_that_trains_takes_trainers_arguments(flags: str, tmp_path: Path) -> None:
    deepspeed(tmp_path)
    script = tmp_path / "run.sh"
    script.write_text(f"deepspeed --num_gpus 8 train.py --model_name_or_path {LLAMA['model_name_or_path']} {flags}\n")
    found = check(script, gpu="H100", changes=False)
    assert (found.framework, found.reading["gpus"].value) == ("transformers 5.24", 8)


@pytest.mark.parametrize("name", ["train.py", "train.ipynb"])
def test_a_python_program_is_not_read_and_its_command_line_is(name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text("from trl import SFTTrainer\n")
    with pytest.raises(PlannerError, match="a Python program is not run") as refused:
        check(program)
    assert "planner check -" in str(refused.value.hint)


def test_a_script_that_only_runs_a_model_is_of_no_framework(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("python score.py --model_name_or_path gpt2 --bf16\n")
    with pytest.raises(PlannerError, match="of no framework"):
        check(script)


def test_misspelt_keys_are_told() -> None:
    assert misspelt("zero_optimisation", ["zero_optimization", "optim"]) == ("zero_optimization",)
    assert not misspelt("train_file", ["train_on_inputs", "test_file_name"])


def test_misspelt_keys_of_a_file_are_told(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"zero_optimisation": {"stage": 3}}))
    with pytest.raises(PlannerError) as caught:
        check(wrong)
    assert "did you mean zero_optimization by zero_optimisation?" in caught.value.hint
    alone = check(deepspeed(tmp_path, gradient_acumulation_steps=8))
    assert "add -- --model_name_or_path NAME" in alone.refused[0].what
    assert any("did you mean gradient_accumulation_steps?" in note for note in alone.notes)


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("example-user/llama-3-70b-fp16", "llama-3-70b"),
        ("open-r1/Qwen2.5-Math-7B-RoPE-300k", "qwen2.5-math-7b"),
        ("somebody/Qwen3-8B-Base-v2", "qwen3-8b-base"),
        ("somebody/llama-3-71b-new", None),
        ("somebody/llama-3-new", None),
        ("somebody/merge-llama-3-8b-qwen2.5-7b", None),
        ("somebody/notllama-3-8b", None),
    ],
)
def test_the_closest_model_has_the_same_name_and_size(name: str, closest: str | None) -> None:
    assert closest_model(name) == closest


def test_an_unknown_model_is_not_taken_for_one_of_another_size(tmp_path: Path) -> None:
    wanted = {"example-user/llama-3-70b-fp16": "llama-3-70b", "somebody/strange": "config.json"}
    for name, told in wanted.items():
        (refusal,) = check(deepspeed(tmp_path), gpu="H100", overrides={"model_name_or_path": name}).refused
        assert told in refusal.what
        assert "llama-3-8b" not in refusal.what


@pytest.mark.parametrize(("length", "told"), [(4096, False), (8192, True)])
def test_positions_are_those_of_a_sample_in_a_packed_row(length: int, told: bool, tmp_path: Path) -> None:
    file = tmp_path / "packed.yml"
    file.write_text(
        "base_model: llama-2-7b\nadapter: lora\nlora_r: 8\nlora_target_linear: true\nbf16: true\n"
        f"sample_packing: true\nflash_attention: true\nmicro_batch_size: 2\nsequence_len: {length}\n"
    )
    plan = check(file, gpus=1, gpu="H100").plan
    assert plan is not None
    assert plan.request.sequence_length == 2 * length
    notes = [note for note in plan.notes if "was trained with" in note]
    assert [note.split()[0] for note in notes] == (["8192"] if told else [])


def test_changes_of_arguments_are_arguments_and_make_the_run_that_is_promised(tmp_path: Path) -> None:
    file = deepspeed(tmp_path)
    small = {**LLAMA, "bf16": True, "max_seq_length": 2048}
    found = check(file, gpu="A100-80GB", gpus=8, overrides=small)
    assert any("says it: a micro-batch of 8, checkpointing none" in note for note in found.notes)
    assert not any("cannot be changed so" in note for note in found.notes)
    first = found.changes[0]
    assert first.arguments == "--per_device_train_batch_size 2 --gradient_accumulation_steps 4"
    assert (first.diff, first.files) == ("", {})
    with pytest.raises(PlannerError, match="is of no file"):
        fix(found, tmp_path / "new.json")
    plan = check(file, gpu="A100-80GB", gpus=8, overrides={**small, **dict(map(parse_override, pairs_of(first)))}).plan
    assert plan is not None
    assert plan.memory.process_bytes == first.process_bytes


def pairs_of(change: Change) -> list[str]:
    return overrides_of(change.arguments.split())

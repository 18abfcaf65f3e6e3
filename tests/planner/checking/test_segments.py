"""A run is planned with the segments that its script or its program asks for, else with expandable ones, and a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import CheckResult, check
from strategies import Allocator

TRL = (
    "trl sft --model_name_or_path NousResearch/Llama-2-7b-hf --dataset_name mine --use_peft --lora_r 16 "
    "--lora_target_modules all-linear --max_length 2048 --per_device_train_batch_size 19 "
    "--gradient_checkpointing true --bf16 true --dtype bfloat16\n"
)
AXOLOTL = """\
base_model: NousResearch/Llama-2-7b-hf
adapter: lora
lora_r: 16
lora_target_linear: true
sequence_len: 2048
micro_batch_size: 19
optimizer: adamw_torch
bf16: true
gradient_checkpointing: true
datasets: [{path: mine, type: alpaca}]
"""


def checked(folder: Path, name: str, text: str) -> CheckResult:
    path = folder / name
    path.write_text(text)
    return check(path, gpu="A100-40GB", gpus=1, changes=False)


def fragments(result: CheckResult) -> bool:
    return any("without it memory fragments, and the run does not fit" in note for note in result.notes)


def test_a_run_whose_script_asks_for_nothing_is_told_that_native_segments_do_not_serve_it(tmp_path: Path) -> None:
    result = checked(tmp_path, "train.sh", TRL)
    assert result.plan is not None
    assert result.plan.memory.fits
    assert result.plan.strategy.allocator is Allocator.EXPANDABLE
    assert fragments(result)


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
@pytest.mark.parametrize(
    ("value", "allocator"),
    [
        ("expandable_segments:True", Allocator.EXPANDABLE),
        ("max_split_size_mb:512,expandable_segments:true", Allocator.EXPANDABLE),
        ("expandable_segments:False", Allocator.NATIVE),
        ("garbage_collection_threshold:0.8", Allocator.NATIVE),
    ],
)
def test_a_script_says_the_segments(name: str, value: str, allocator: Allocator, tmp_path: Path) -> None:
    for text in (f"export {name}={value}\n{TRL}", f"{name}={value} {TRL}"):
        result = checked(tmp_path, "train.sh", text)
        assert result.plan is not None
        assert result.plan.strategy.allocator is allocator
        assert result.reading["allocator"].value == allocator.value
        assert result.plan.memory.fits is (allocator is Allocator.EXPANDABLE)
        assert not fragments(result)


def test_a_program_that_asks_for_expandable_segments_needs_no_note(tmp_path: Path) -> None:
    result = checked(tmp_path, "run.yaml", AXOLOTL)
    assert result.plan is not None
    assert result.plan.memory.fits
    assert not fragments(result)


def test_what_only_running_the_script_would_say_stays_open(tmp_path: Path) -> None:
    result = checked(tmp_path, "train.sh", f"export PYTORCH_CUDA_ALLOC_CONF=$SEGMENTS\n{TRL}")
    assert "allocator" not in result.reading
    assert not fragments(result)

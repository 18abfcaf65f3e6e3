"""A run that its GPU cannot run gets the smallest changes of its files with which it runs and fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import CheckResult, check
from planner.checking.fix import fix

AXOLOTL = """\
base_model: meta-llama/Llama-3.2-1B  # small
adapter: lora
lora_r: 8
lora_target_linear: true
sequence_len: 512
micro_batch_size: 1
gradient_checkpointing: true
"""
TRL = "model_name_or_path: Qwen/Qwen2.5-0.5B\nmax_length: 512\nper_device_train_batch_size: 1\nbf16: true\n"
FACTORY = "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: sft\nfinetuning_type: lora\ncutoff_len: 512\n"


def checked(text: str, gpu: str, tmp_path: Path) -> CheckResult:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return check(file, gpu=gpu, gpus=1)


@pytest.mark.parametrize(
    ("text", "gpu", "what", "after"),
    [
        (f"{AXOLOTL}bf16: true\n", "T4", "mixed precision in fp16", {"bf16": False, "fp16": True}),
        (
            f"{AXOLOTL}fp16: true\nflash_attention: true\n",
            "V100-16GB",
            "fused attention",
            {"flash_attention": False, "attn_implementation": "sdpa"},
        ),
        (
            f"{AXOLOTL}bf16: true\nflash_attention: true\n",
            "T4",
            "mixed precision in fp16, fused attention",
            {"bf16": False, "fp16": True, "flash_attention": False, "attn_implementation": "sdpa"},
        ),
        (TRL, "T4", "mixed precision in fp16", {"bf16": False, "fp16": True}),
        (
            f"{FACTORY}bf16: true\nflash_attn: fa3\n",
            "A100-40GB",
            "fused attention",
            {"flash_attn": "sdpa"},
        ),
    ],
)
def test_the_smallest_change_makes_it_run(
    text: str, gpu: str, what: str, after: dict[str, object], tmp_path: Path
) -> None:
    result = checked(text, gpu, tmp_path)
    assert (result.plan, result.changes[0].what) == (None, what)
    assert {change.key: change.after for change in result.changes[0].keys} == after
    (path,) = fix(result, tmp_path / "fixed.yaml")
    fixed = check(path, gpu=gpu, gpus=1)
    assert fixed.fits
    assert fixed.plan is not None
    assert fixed.plan.memory.process_bytes == result.changes[0].process_bytes


def test_what_runs_and_is_too_large_is_changed_further(tmp_path: Path) -> None:
    text = f"{AXOLOTL}bf16: true\n".replace("micro_batch_size: 1", "micro_batch_size: 64")
    result = checked(text, "T4", tmp_path)
    assert [change.what.startswith("mixed precision in fp16, ") for change in result.changes] == [True] * 3
    assert {change.key: change.before for change in result.changes[0].keys}["bf16"] is True


def test_adapters_in_half_precision_get_no_loss_scaling(tmp_path: Path) -> None:
    adapters = "use_peft: true\nload_in_4bit: true\ndtype: bfloat16\nlora_target_modules: all-linear\n"
    result = checked(TRL + adapters, "T4", tmp_path)
    assert (result.plan, result.changes) == (None, ())


def test_what_no_change_makes_run_has_none(tmp_path: Path) -> None:
    result = checked(f"{AXOLOTL}bf16: true\nrl: dpo\n", "T4", tmp_path)
    assert (result.plan, result.changes) == (None, ())

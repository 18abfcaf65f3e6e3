"""A change of a run's files is a diff of these files, and they then make the plan that it promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hardware import PlannerError
from planner import CheckResult, check
from planner.checking.fix import fix
from planner.cli import main

AXOLOTL = """\
# my first run
base_model: meta-llama/Llama-3.2-1B  # small
adapter: lora
lora_r: 8
lora_target_modules: [q_proj, v_proj]

sequence_len: 2048
micro_batch_size: 8   # as many as possible
gradient_accumulation_steps: 2
bf16: auto
optimizer: 'adamw_torch_fused'
datasets:
  - path: mine
    type: alpaca
"""
LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen3-0.6B
stage: sft
finetuning_type: full
template: qwen3
cutoff_len: 2048
per_device_train_batch_size: 8
bf16: true
"""
ZERO2 = json.dumps(
    {
        "train_micro_batch_size_per_gpu": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
    },
    indent=4,
)
TRL = """\
model_name_or_path: Qwen/Qwen2.5-1.5B
dataset_name: mine
dtype: bfloat16
max_length: 4096
per_device_train_batch_size: 16
gradient_checkpointing: false
"""
FSDP = """\
distributed_type: FSDP
mixed_precision: 'bf16'  # quoted
num_machines: 1
num_processes: 2
fsdp_config:
  fsdp_version: 2
  fsdp_reshard_after_forward: false
"""
INLINE = """\
distributed_type: DEEPSPEED
num_machines: 1
num_processes: 2
deepspeed_config:
  zero_stage: 2
"""
RUNS: dict[str, dict[str, str]] = {
    "axolotl": {"axolotl.yaml": AXOLOTL},
    "llama-factory": {"sft.yaml": LLAMA_FACTORY},
    "llama-factory with DeepSpeed": {"sft.yaml": LLAMA_FACTORY, "ds.json": ZERO2},
    "trl": {"sft.yaml": TRL},
    "trl with FSDP": {"sft.yaml": TRL, "fsdp.yaml": FSDP},
    "llama-factory with accelerate's DeepSpeed": {"sft.yaml": LLAMA_FACTORY, "zero.yaml": INLINE},
}


def written(folder: Path, files: dict[str, str]) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [str(folder / name) for name in files]


def gpus_of(files: dict[str, str]) -> int:
    return 2 if len(files) > 1 else 1


@pytest.mark.parametrize("gpu", ["RTX-3060", "A100-80GB"])
@pytest.mark.parametrize("name", RUNS)
def test_the_changed_files_make_the_plan_that_a_change_promises(name: str, gpu: str, tmp_path: Path) -> None:
    files = RUNS[name]
    paths = written(tmp_path / "old", files)
    result = check(paths, gpu=gpu, gpus=gpus_of(files))
    assert result.plan is not None, result.refused
    assert result.changes
    assert CheckResult.model_validate_json(result.model_dump_json()) == result
    for rank, change in enumerate(result.changes, start=1):
        new = tmp_path / str(rank)
        new_paths = written(new, files)
        fix(result, new, rank=rank, force=True)
        again = check(new_paths, gpu=gpu, gpus=gpus_of(files))
        assert again.plan is not None, again.refused
        assert again.plan.memory.process_bytes == change.process_bytes
        assert again.plan.memory.fits
        assert again.plan.time.step_seconds == change.step_seconds
        if change.purpose != "larger batch":
            assert change.global_batch_size == result.plan.global_batch_size
        if change.purpose == "faster step":
            assert change.step_seconds < result.plan.time.step_seconds
        if change.purpose == "larger batch":
            assert change.global_batch_size > result.plan.global_batch_size
        assert again.not_understood == result.not_understood


def test_a_diff_is_of_the_lines_that_change_alone(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"axolotl.yaml": AXOLOTL})
    result = check(file, gpu="RTX-3060", gpus=1)
    change = result.changes[0]
    assert change.purpose == "fits"
    assert not change.alters
    removed = [line[1:] for line in change.diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    kept = [line for line in AXOLOTL.splitlines() if line not in removed]
    new = change.files[file].splitlines()
    assert [line for line in new if line in kept] == kept
    assert len(new) - len(kept) <= len(change.keys)
    for key in change.keys:
        assert key.file == file
        assert key.before != key.after


def test_changes_are_told_with_the_plan_and_without_a_gpu_there_are_none(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"sft.yaml": TRL})
    assert check(file).changes == ()
    shown = run(file, "--gpu", "RTX-3060", "--gpus", "1").stdout
    assert "smallest changes that make it fit" in shown
    assert "+gradient_checkpointing: true" in shown
    shown = run(file, "--gpu", "H100", "--gpus", "1", "--", "per_device_train_batch_size=1").stdout
    assert "changes for a larger batch" in shown


def test_a_key_of_the_command_line_is_named(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"sft.yaml": TRL})
    result = check(file, gpu="H100", gpus=1, overrides={"per_device_train_batch_size": 1})
    assert any("per_device_train_batch_size: of the command line" in note for note in result.notes)


def test_an_anchor_that_others_use_is_not_changed(tmp_path: Path) -> None:
    text = TRL.replace("per_device_train_batch_size: 16", "per_device_train_batch_size: &n 16\nlogging_steps: *n")
    text = text.replace("gradient_checkpointing: false", "gradient_checkpointing: true")
    (file,) = written(tmp_path, {"sft.yaml": text})
    result = check(file, gpu="RTX-3060", gpus=1)
    assert any("cannot be changed so without changing more" in note for note in result.notes)
    assert all(key.key != "per_device_train_batch_size" for change in result.changes for key in change.keys)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], input=given)


def test_a_fix_is_a_new_file_and_overwrites_none(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"axolotl.yaml": AXOLOTL})
    new = tmp_path / "new.yaml"
    on: tuple[Any, ...] = (file, "--gpu", "RTX-3060", "--gpus", "1")
    assert run(*on, "--fix", str(new)).exit_code == 1
    assert run(str(new), *on[1:]).exit_code == 0
    assert new.read_text().startswith("# my first run\n")
    new.write_text("mine")
    again = run(*on, "--fix", str(new))
    assert (again.exit_code, again.stdout) == (2, "")
    assert "would be overwritten" in again.stderr
    assert new.read_text() == "mine"
    assert run(*on, "--fix", file).exit_code == 2
    assert Path(file).read_text() == AXOLOTL
    assert run(*on, "--fix", str(new), "--force").exit_code == 1
    assert new.read_text() != "mine"
    assert "there is no change 9 to write" in run(*on, "--fix", str(new), "--force", "--change", "9").stderr
    assert "--fix needs a GPU" in run(file, "--fix", str(new)).stderr


def test_several_files_are_written_into_a_folder(tmp_path: Path) -> None:
    files = RUNS["llama-factory with DeepSpeed"]
    result = check(written(tmp_path, files), gpu="RTX-3060", gpus=2)
    rank = next(i for i, change in enumerate(result.changes, start=1) if len(change.files) == 2)
    with pytest.raises(PlannerError, match="is no folder"):
        fix(result, tmp_path / "new.yaml", rank=rank)
    folder = tmp_path / "new"
    folder.mkdir()
    assert {path.name for path in fix(result, folder, rank=rank)} == {"sft.yaml", "ds.json"}


def test_a_file_comes_from_standard_input(tmp_path: Path) -> None:
    answer = json.loads(run("-", "--gpu", "RTX-3060", "--gpus", "1", "--json", given=AXOLOTL).stdout)
    assert answer["files"] == ["standard input"]
    assert answer["changes"][0]["files"]["standard input"].startswith("# my first run")


def test_gradients_that_stay_whole_while_they_accumulate_are_reduced_by_a_key_of_the_file(tmp_path: Path) -> None:
    """transformers hands `accelerator_config` on to accelerate, whose FSDP2 reduces in the last micro-batch alone."""
    text = (
        "base_model: meta-llama/Llama-2-7b-hf\nsequence_len: 1024\nmicro_batch_size: 1\n"
        "gradient_accumulation_steps: 4\nbf16: true\ngradient_checkpointing: true\nfsdp_version: 2\n"
        "fsdp_config:\n  reshard_after_forward: true\n"
    )
    (file := tmp_path / "axolotl.yaml").write_text(text)
    result = check([file], gpu="RTX-3090", gpus=4)
    fitting = [change.diff for change in result.changes if change.purpose == "fits"]
    assert any("+    sync_each_batch: true" in diff for diff in fitting)


def test_changes_of_a_tight_run_leave_the_share_that_a_search_leaves(tmp_path: Path) -> None:
    text = AXOLOTL.replace("Llama-3.2-1B", "Llama-2-7b-hf").replace("micro_batch_size: 8", "micro_batch_size: 20")
    files = written(tmp_path, {"run.yaml": text.replace("accumulation_steps: 2", "accumulation_steps: 1")})
    found = check([*files], gpu="A100-40GB", gpus=1, overrides=["gradient_checkpointing=true"])
    assert found.plan is not None
    assert found.plan.is_tight
    roomy = check([*files], gpu="A100-40GB", gpus=1, overrides=["gradient_checkpointing=true"], headroom=0.05)
    assert roomy.plan is not None
    assert not roomy.plan.memory.fits
    assert {change.purpose for change in found.changes} == {"more room"}
    assert {change.purpose for change in roomy.changes} == {"fits"}
    assert [change.what for change in found.changes] == [change.what for change in roomy.changes]
    assert all(change.process_bytes <= roomy.plan.memory.budget_bytes for change in found.changes)

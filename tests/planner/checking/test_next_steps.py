"""A run that has no plan comes with a command that does."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from planner import check

AXOLOTL = "base_model: meta-llama/Llama-3.2-1B\nadapter: lora\nlora_r: 8\nlora_target_linear: true\nrl: {}\n"
RUNS = {
    "axolotl": f"{AXOLOTL}micro_batch_size: 2\nsequence_len: 1024\nbf16: true\n",
    "llama-factory": "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: {}\nfinetuning_type: full\ncutoff_len: 1024\n"
    "per_device_train_batch_size: 2\nbf16: true\n",
    "trl": "model_name_or_path: Qwen/Qwen2.5-0.5B\nbeta: 0.1\nmax_prompt_length: 128\nmax_length: 1024\n"
    "per_device_train_batch_size: 2\n",
}


@pytest.mark.parametrize("name", RUNS)
def test_training_on_pairs_has_a_lower_bound_that_is_planned(name: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(RUNS[name].format("dpo"))
    refused = check(file)
    assert refused.plan is None
    (note,) = [note for note in refused.notes if "two sequences of each sample" in note]
    assert "reference model" in note
    command = shlex.split(note.split("`")[1])
    assert command[:3] == ["planner", "check", str(file)]
    bound = check(file, overrides=command[command.index("--") + 1 :], gpus=1)
    assert bound.plan is not None
    assert bound.reading["micro_batch_size"].value == 4


def test_what_is_refused_for_more_than_its_pairs_has_no_such_command(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"{RUNS['axolotl'].format('dpo')}tensor_parallel_size: 2\n")
    assert not any("two sequences" in note for note in check(file).notes)

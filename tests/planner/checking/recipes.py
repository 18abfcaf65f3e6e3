"""Recipes of training runs, and what checks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from planner import CheckResult
from planner.cli import main

AXOLOTL = """\
base_model: meta-llama/Llama-3.2-1B
adapter: qlora
load_in_4bit: true
lora_r: 8
lora_target_linear: true
sequence_len: 1024
micro_batch_size: 2
bf16: auto
gradient_checkpointing: true
wandb_project:
learning_rate: 2e-4
no_such_key: 3
"""

CUT = "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]\n"
LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen3-4B
stage: sft
finetuning_type: full
deepspeed: zero/ds_z3.json
cutoff_len: 1024
per_device_train_batch_size: 1
bf16: true
"""

ZERO3 = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": False,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_max_live_parameters": 1e9,
    },
}

TRL = "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset_name: stanfordnlp/imdb\nlearning_rate: 0.0001\n"
FSDP = """\
distributed_type: FSDP
mixed_precision: bf16
num_machines: 1
num_processes: 2
fsdp_config:
  fsdp_sharding_strategy: FULL_SHARD
  fsdp_offload_params: false
"""


def written(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return [str(folder / f"{name}.yaml") for name in files]


def values(result: CheckResult) -> dict[str, Any]:
    return {word: setting.value for word, setting in result.reading.items()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])

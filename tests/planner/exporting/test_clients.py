"""transformers and accelerate themselves read what is written for them, key by key."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import estimate, export

PLANS: list[dict[str, Any]] = [
    {},
    {"finetuning": "qlora", "lora_targets": "q_proj,v_proj", "trained_modules": "head"},
    {"optimizer": "galore", "optimizer_rank": 64, "precision": "bf16-true"},
    {"optimizer": "sgd-momentum", "checkpointing": "offload", "checkpoint_every": 2, "evaluation_batch_size": 4},
    {"kernels": "liger", "loss": "liger-fused-linear", "finetuning": "freeze", "trained_blocks": 2},
    {"gpus": 8, "sharding": "full_shard", "gradient_sync": "each", "finetuning": "lora", "batching": "packed"},
    {"gpus": 8, "sharding": "shard_grad_op", "sharding_backend": "fsdp1"},
    {"gpus": 8, "sharding": "zero3", "offload": "cpu", "precision": "bf16-mixed"},
    {"gpus": 8, "sharding": "no_shard", "precision": "fp32"},
]


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns the parser that train.py makes of train.yaml's keys."""
    from transformers import HfArgumentParser, TrainingArguments

    monkeypatch.syspath_prepend(str(resources.files("planner.exporting").joinpath("scripts")))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    from model import Run

    return HfArgumentParser((Run, TrainingArguments))


@pytest.mark.parametrize("options", PLANS, ids=lambda options: " ".join(map(str, options.values())) or "plain")
def test_trainer_and_accelerate_take_the_files(
    options: dict[str, Any], parser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin

    plan = estimate("llama-3.2-1b", **{"gpu": "A100-40GB", "gradient_accumulation_steps": 2, **options})
    files = export(plan, "transformers")
    said = yaml.safe_load(files["train.yaml"])
    # Without a GPU, transformers refuses bf16 and tf32 unless it is told to use the CPU.
    parser.set_defaults(**{**said, "use_cpu": True, "output_dir": str(tmp_path)})
    run, args, *unknown = parser.parse_args_into_dataclasses([])
    assert unknown == []
    taken = {**vars(run), **vars(args)}
    for key in ("per_device_train_batch_size", "optim", "optim_target_modules", "dtype", "lora_r", "sequence_length"):
        assert key not in said or taken[key] == said[key]
    launcher = tmp_path / "accelerate.yaml"
    launcher.write_text(files["accelerate.yaml"])
    config = load_config_from_file(str(launcher))
    assert config.num_processes == plan.data_parallel_size
    fsdp = yaml.safe_load(files["accelerate.yaml"]).get("fsdp_config", {})
    for name, value in fsdp.items():  # as `accelerate launch` passes them on
        monkeypatch.setenv(name.upper(), str(value))
    if fsdp:
        assert FullyShardedDataParallelPlugin().fsdp_version == fsdp["fsdp_version"]

"""Exported scripts really train, here on the CPU, with weights and data of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from planner import estimate, export
from planner.exporting.export import write

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
PARAMETERS = 2 * 128 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64
ADAPTERS = 2 * 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a config.json."""
    file = tmp_path_factory.mktemp("model") / "config.json"
    file.write_text(json.dumps(TINY))
    return str(file)


def run(folder: Path, config: str, target: str, **chosen: Any) -> dict[str, Any]:
    """Runs an exported script and returns what it measured."""
    sizes = {"sequence_length": 32, "micro_batch_size": 2, "gradient_accumulation_steps": 2}
    plan = estimate(config, **{"gpu": "A100-40GB", **sizes, **chosen})
    write(export(plan, target, random_weights=True), folder)
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads((folder / "measured.jsonl").read_text())
    assert measured["predicted"]["allocated_bytes"] == plan.memory.allocated_bytes
    return measured


@pytest.mark.parametrize(
    ("target", "options", "trained"),
    [
        ("transformers", {"precision": "bf16-mixed", "checkpointing": "full"}, PARAMETERS),
        ("transformers", {"finetuning": "lora", "lora_rank": 4, "batching": "packed"}, ADAPTERS),
    ],
)
def test_a_script_trains_what_the_plan_trains(
    target: str, options: dict[str, Any], trained: int, config: str, tmp_path: Path
) -> None:
    measured = run(tmp_path, config, target, **options)
    assert measured["losses"][-1] < measured["losses"][0]
    assert measured["global_batch_size"] == 4
    assert measured["trained_parameters"] == trained

"""Exported scripts really train, here on the CPU, with weights and data of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from planner import estimate, export
from planner.exporting.export import write

ROOT = Path(__file__).parents[3]
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
BY_GLOO = """
import runpy
from collections import defaultdict

import deepspeed

deepspeed.ops.__compatible_ops__ = defaultdict(bool)
runpy.run_path("train.py", run_name="__main__")
"""
"""Runs a script of DeepSpeed without its own kernels for the CPU, which it would compile first, in a minute."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a config.json."""
    file = tmp_path_factory.mktemp("model") / "config.json"
    file.write_text(json.dumps(TINY))
    return str(file)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """Path of an encoder's config.json."""
    file = tmp_path / "encoder.json"
    file.write_text(json.dumps({**TINY, "model_type": "bert", "architectures": ["BertForMaskedLM"]}))
    return str(file)


def run(folder: Path, config: str, target: str, ranks: int = 1, **chosen: Any) -> dict[str, Any]:
    """Runs an exported script and returns what it measured."""
    sizes = {"sequence_length": 32, "micro_batch_size": 2, "gradient_accumulation_steps": 2}
    plan = estimate(config, **{"gpu": "A100-40GB", **sizes, **chosen})
    write(export(plan, target, random_weights=True), folder)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    script = "train.py"
    if target == "deepspeed":
        script = "by_gloo.py"
        (folder / script).write_text(BY_GLOO)
    command = [sys.executable, *launcher, script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads((folder / "measured.jsonl").read_text())
    assert measured["predicted"]["allocated_bytes"] == plan.memory.allocated_bytes
    return measured


@pytest.mark.parametrize(
    ("target", "options", "trained"),
    [
        ("transformers", {"precision": "bf16-mixed", "checkpointing": "full"}, PARAMETERS),
        ("transformers", {"finetuning": "lora", "lora_rank": 4, "batching": "packed"}, ADAPTERS),
        ("pytorch", {"precision": "fp32", "batching": "padded", "optimizer": "adamw-foreach"}, PARAMETERS),
    ],
)
def test_a_script_trains_what_the_plan_trains(
    target: str, options: dict[str, Any], trained: int, config: str, tmp_path: Path
) -> None:
    measured = run(tmp_path, config, target, **options)
    assert measured["losses"][-1] < measured["losses"][0]
    assert measured["global_batch_size"] == 4
    assert measured["trained_parameters"] == trained


@pytest.mark.parametrize(("target", "task"), [("transformers", "contrastive"), ("pytorch", "sequence-classification")])
def test_an_encoder_trains_for_its_task(target: str, task: str, encoder: str, tmp_path: Path) -> None:
    measured = run(tmp_path / "run", encoder, target, task=task, precision="fp32", micro_batch_size=4)
    assert measured["losses"][-1] < measured["losses"][0]
    assert measured["losses"][0] < 2  # a mean over the accumulated micro-batches: log(2) and log(4) for random weights
    assert measured["global_batch_size"] == 8


@pytest.mark.parametrize(
    ("task", "head"), [("sequence-classification", 64 * 2 + 2), ("token-classification", 64 * 2 + 2)]
)
def test_the_head_of_a_classifier_trains_beside_adapters(task: str, head: int, encoder: str, tmp_path: Path) -> None:
    chosen = {"task": task, "finetuning": "lora", "lora_rank": 4, "lora_targets": "query,value", "precision": "fp32"}
    measured = run(tmp_path / "run", encoder, "transformers", **chosen)
    assert measured["trained_parameters"] == 2 * 2 * 4 * (64 + 64) + head
    assert measured["losses"][-1] < measured["losses"][0]


def test_data_are_read_from_every_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "planner" / "exporting" / "scripts"))
    monkeypatch.delitem(sys.modules, "reading", raising=False)
    from reading import read

    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    said = [{"text": "a\u2028b"}, {"text": "c"}]
    (tmp_path / "1.jsonl").write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n\n" for row in said))
    (tmp_path / "2.json").write_text(json.dumps(said, indent=2))
    parquet.write_table(pyarrow.Table.from_pylist(said), tmp_path / "3.parquet")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "4.txt").write_text("d\ne")
    (tmp_path / "other.bin").write_bytes(b"\0")
    for name in ("1.jsonl", "2.json", "3.parquet"):
        assert read(str(tmp_path / name)) == said
    assert read(str(tmp_path)) == [*said, *said, *said, {"text": "d\ne"}]
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(SystemExit, match="has no samples"):
        read(str(tmp_path / "empty.jsonl"))


@pytest.mark.parametrize(("target", "sharding"), [("pytorch", "full_shard"), ("deepspeed", "zero2")])
def test_two_processes_train_one_model(target: str, sharding: str, config: str, tmp_path: Path) -> None:
    measured = run(tmp_path, config, target, ranks=2, precision="bf16-mixed", gpus=2, sharding=sharding)
    assert measured["losses"][-1] < measured["losses"][0]
    assert measured["global_batch_size"] == 8


def test_the_commands_of_the_readme_lead_to_a_running_step(tmp_path: Path) -> None:
    """The first installs; the second plans and writes, and the third trains."""
    text = (ROOT / "README.md").read_text()
    block = next(part for part in text.split("```")[1::2] if "--random-weights" in part)
    install, *commands = [line for line in block.splitlines()[1:] if line]
    assert install.startswith("pip install ")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for command in commands:
        # The planner of this checkout, wherever another one is installed.
        command = command.replace("planner ", f"{sys.executable} -m planner ")
        done = subprocess.run(["bash", "-eo", "pipefail", "-c", command], cwd=tmp_path, env=environment, timeout=280)
        assert done.returncode == 0
    measured = json.loads((tmp_path / "run" / "measured.jsonl").read_text())
    assert measured["losses"][-1] < measured["losses"][0]

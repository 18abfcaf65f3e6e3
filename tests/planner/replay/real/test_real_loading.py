"""What two real processes take of the host's memory while they load a model under FSDP2, beside what is planned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

RANKS, FP32 = 2, 4
SIZES = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 5, "num_attention_heads": 8}
SCRIPT = Path(__file__).with_name("real_loading.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in bf16."""
    path = tmp_path_factory.mktemp("model")
    config = LlamaConfig(**SIZES, vocab_size=16_000, tie_word_embeddings=False)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return path


def measured(folder: Path, precision: str) -> list[dict[str, int]]:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    subprocess.run([*run, str(SCRIPT), str(folder), precision], check=True, capture_output=True, timeout=240)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process has of its own")
def test_every_rank_casts_all_weights_and_then_has_its_shards_beside_them(folder: Path) -> None:
    parameters = sum(p.numel() for p in LlamaForCausalLM.from_pretrained(folder).parameters())
    mixed, plain = measured(folder, "bf16"), measured(folder, "no")
    assert all(rank["loaded"] < 0.05 * FP32 * parameters for rank in (*mixed, *plain))  # pages of the checkpoint
    assert [rank["cast"] for rank in mixed] == pytest.approx([FP32 * parameters] * RANKS, rel=0.05)
    assert all(rank["cast"] < 0.05 * FP32 * parameters for rank in plain)
    assert mixed[0]["distributed"] == pytest.approx((1 + 1 / RANKS) * FP32 * parameters, rel=0.05)

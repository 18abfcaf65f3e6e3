"""Asks whether the pretraining runs of llm-foundry fit, all of which ran.

MPT is asked as a GPT-2 of its dimensions, which has biases and norms in fp32 in addition.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import planner
from hardware import GIB
from planner.records.plan import Memory

FILE = Path(__file__).with_name("llm_foundry.csv")
SOURCE = "llm-foundry"
VOCABULARY = 50_368
GPUS = {"H100-80GB": "H100-80GB-SXM", "A100-80GB": "A100-80GB-SXM", "A100-40GB": "A100-40GB-SXM"}
GPUS_PER_NODE = 8
AXES = {
    "precision": "bf16-mixed",
    "optimizer": "adamw",
    "attention": "flash-attention-2",
    "loss": "full",
    "sharding": "full_shard",
    "sharding_backend": "fsdp1",
    "gradient_sync": "each",
    "allocator": "native",
}


class Verdict(NamedTuple):
    """What the planner says of a run that ran."""

    name: str
    memory: Memory

    @property
    def over_bytes(self) -> int:
        """Bytes beyond the GPU's memory, of the process."""
        return self.memory.process_bytes - self.memory.budget_bytes

    @property
    def allocated_over_bytes(self) -> int:
        """Bytes beyond the GPU's memory if the allocator needed no more than what is allocated."""
        return self.over_bytes - (self.memory.reserved_bytes - self.memory.allocated_bytes)


def verdicts() -> Iterator[Verdict]:
    """Yields the planner's verdict of each run, in the file's order."""
    lines = (line for line in FILE.read_text().splitlines() if not line.startswith("#"))
    with tempfile.TemporaryDirectory() as folder:
        for row in csv.DictReader(lines):
            file = Path(folder, "config.json")
            file.write_text(json.dumps(_config(row)))
            gpus = int(row["gpus"])
            answer = planner.estimate(
                str(file),
                gpu=GPUS[row["gpu"]],
                gpus=min(gpus, GPUS_PER_NODE),
                nodes=-(-gpus // GPUS_PER_NODE),
                sequence_length=int(row["sequence_length"]),
                micro_batch_size=int(row["micro_batch_size"]),
                gradient_accumulation_steps=int(row["accumulation"]),
                checkpointing=row["checkpointing"],
                headroom=0.0,
                **AXES,
            )
            name = f"{gpus} x {row['gpu']}, {row['layers']} layers of {row['width']}, {row['sequence_length']} tokens"
            yield Verdict(f"{name}, {row['mixed_precision']}, checkpointing {row['checkpointing']}", answer.memory)


def table() -> Iterator[str]:
    """Yields lines of text: how many runs are said to fit, and the others with the bytes that are too many."""
    found = list(verdicts())
    wrong = [verdict for verdict in found if not verdict.memory.fits]
    yield f"{len(found) - len(wrong)} of {len(found)} runs that ran are said to fit with --headroom 0%; the others:"
    for verdict in wrong:
        over, alone = verdict.over_bytes / GIB, verdict.allocated_over_bytes / GIB
        yield f"- {verdict.name}: {over:+.2f} GiB, {alone:+.2f} GiB by allocated bytes alone"


def _config(row: Mapping[str, str]) -> dict[str, object]:
    width = int(row["width"])
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": width,
        "n_layer": int(row["layers"]),
        "n_head": int(row["heads"]),
        "n_inner": 4 * width,
        "vocab_size": VOCABULARY,
        "n_positions": int(row["sequence_length"]),
        "activation_function": "gelu",
        **dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0),
    }

"""Asks whether the pretraining runs of llm-foundry fit, all of which ran.

MPT is asked as a GPT-2 of its dimensions, with the loss that is its default: flash-attn's, on logits in bf16
(llmfoundry/models/mpt/modeling_mpt.py, `loss_fn`, "fused_crossentropy"; in mosaicml/examples from the commit fccd16ef
on, which also made the vocabulary 50,368). What no choice says is derived beside it: its norms are in 16 bits. The
planner also counts a copy of the logits in fp32, which accelerate makes and Composer does not.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from published.data_files import csv_rows

import planner
from hardware import GIB
from planner.records.plan import Memory

SOURCE = "llm-foundry"
VOCABULARY = 50_368
GPUS = {"H100-80GB": "H100-80GB-SXM", "A100-80GB": "A100-80GB-SXM", "A100-40GB": "A100-40GB-SXM"}
GPUS_PER_NODE = 8
AXES = {
    "precision": "bf16-mixed",
    "optimizer": "adamw",
    "attention": "flash-attention-2",
    "loss": "flash-cross-entropy",
    "sharding": "full_shard",
    "sharding_backend": "fsdp1",
    "gradient_sync": "each",
    "allocator": "native",
}


NORMS = 2
"""Layer norms of a block. Autocast runs them in fp32: backward keeps a copy of the input, 4 bytes per element. Those of
llm-foundry (llmfoundry/models/layers/norm.py, `LPLayerNorm`; Composer, algorithms/low_precision_layernorm) are in bf16
and keep the input itself, 2 bytes."""
FP32, BF16 = 4, 2


class Verdict(NamedTuple):
    """What the planner says of a run that ran.

    Attributes:
        name: The run.
        memory: The planner's answer.
        norms_bytes: What 16-bit norms keep less for backward.
    """

    name: str
    memory: Memory
    norms_bytes: int

    @property
    def fits_with_its_norms(self) -> bool:
        """Whether the run fits, with the norms that it had."""
        return self.memory.fits or self.over_bytes <= self.norms_bytes

    @property
    def over_bytes(self) -> int:
        """Bytes beyond the GPU's memory, of the process."""
        return self.memory.process_bytes - self.memory.budget_bytes

    @property
    def allocated_over_bytes(self) -> int:
        """Bytes beyond the GPU's memory if the allocator needed no more than what is allocated."""
        return self.over_bytes - (self.memory.reserved_bytes - self.memory.allocated_bytes)


def verdicts(times: int = 1) -> Iterator[Verdict]:
    """Yields the planner's verdict of each run, in the file's order.

    Args:
        times: What the micro-batch is multiplied by.
    """
    with tempfile.TemporaryDirectory() as folder:
        for row in csv_rows("llm_foundry.csv"):
            row["micro_batch_size"] = str(times * int(row["micro_batch_size"]))
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
            yield Verdict(
                f"{name}, {row['mixed_precision']}, checkpointing {row['checkpointing']}", answer.memory, _norms(row)
            )


def table() -> Iterator[str]:
    """Yields lines of text: how many runs are said to fit, and the others with the bytes that are too many.

    Nobody published what did not fit. How many would with twice the micro-batch says how near to the limit they ran.
    """
    found = list(verdicts())
    wrong = [verdict for verdict in found if not verdict.memory.fits]
    with_norms = sum(verdict.fits_with_its_norms for verdict in found)
    yield f"{len(found) - len(wrong)} of {len(found)} runs that ran are said to fit with --headroom 0%,"
    yield f"{with_norms} if what their 16-bit norms keep less is taken off;"
    twice = sum(verdict.fits_with_its_norms for verdict in verdicts(2))
    yield f"with twice the micro-batch {twice} of them would fit with these norms; too many bytes, as asked:"
    for verdict in wrong:
        over, alone = verdict.over_bytes / GIB, verdict.allocated_over_bytes / GIB
        norms = f"{verdict.norms_bytes / GIB:.2f} GiB less by its norms"
        yield f"- {verdict.name}: {over:+.2f} GiB, {alone:+.2f} GiB by allocated bytes alone, {norms}"


def _norms(row: Mapping[str, str]) -> int:
    """Returns the bytes that 16-bit norms keep less: of all blocks, or of the one that is computed again."""
    tokens = int(row["sequence_length"]) * int(row["micro_batch_size"])
    blocks = int(row["layers"]) if row["checkpointing"] == "none" else 1
    return blocks * NORMS * (FP32 - BF16) * int(row["width"]) * tokens


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

"""Fifteen questions as people ask them, with whole answers kept. UPDATE_SNAPSHOTS=1 stores new ones; read them.

Each answer was read by somebody who knows what one would run: what that is stands beside the question.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner.cli import main

ASKED = {
    # LoRA at a usual effective batch without checkpointing; the largest batch as the other end.
    "7b_on_one_a100": "fit llama-7b --gpu A100-40GB",
    # LoRA or full with FSDP, without checkpointing; not thousands of sequences.
    "8b_on_eight_h100": "fit llama-3-8b --gpu H100 --gpus 8 --sequence-length 4096",
    # LoRA with FSDP and a fused loss: the flags and packages that make it fit, before other machines.
    "14b_on_four_3090": "fit qwen2.5-14b --gpu RTX-3090 --gpus 4 --sequence-length 8192",
    # Sharded QLoRA with shards on the host, as published; how much host memory that takes.
    "70b_on_two_4090": "fit llama-3-70b --gpu RTX-4090 --gpus 2 --finetuning qlora",
    # The update in backward, paged or offloaded AdamW, and what each costs.
    "4b_full_on_one_4090": "fit gemma-3-4b --gpu RTX-4090 --finetuning full",
    # LoRA with checkpointing, micro-batches of one or two sequences.
    "7b_of_32k_tokens": "fit mistral-7b --gpu A100-80GB --sequence-length 32768",
    # LoRA over dequantized MXFP4, eager attention, experts in 16 bits.
    "gpt_oss_on_one_h100": "fit gpt-oss-20b --gpu H100",
    # QLoRA, small micro-batches; a fused loss would help much.
    "8b_on_an_l4": "fit qwen3-8b --gpu L4",
    # Full fine-tuning in fp16 without checkpointing, batch 32 to 64.
    "bert_on_a_t4": "fit bert-base --gpu T4",
    # Nothing first that trades quality away.
    "everything_searched": "fit llama-3.1-8b --gpu A100-80GB --precision all --optimizer all --finetuning all",
    # Machines by the price of the run, with the dates of prices.
    "cheapest_within_a_day": "fit qwen2.5-7b --gpu machines --finetuning lora --sequence-length 512 --samples 10M "
    "--deadline 24h --objective cost",
    # The smallest count that fits, the fastest, the cheapest for a token.
    "how_many_h100": "fit llama-3-70b --gpu H100 --gpus 1,2,4,8 --nodes 1,2,4 --finetuning full",
    # A table of models by method.
    "largest_model": "sweep llama-3-8b llama-2-13b qwen2.5-32b llama-3-70b --gpu A100-40GB --gpus 8 "
    "--finetuning full,lora,qlora",
    # Whether it fits, and the smallest change as a diff.
    "does_my_file_fit": "check axolotl.yaml --gpu RTX-4090 --gpus 1",
    # Which term is over, by how much, and what would pay for it.
    "why_not_without_checkpointing": "fit llama-2-13b --gpu RTX-4090 --why-not checkpointing=none",
}
AXOLOTL = """\
base_model: NousResearch/Llama-2-13b-hf
datasets: [{path: mhenrichsen/alpaca_2k_test, type: alpaca}]
sequence_len: 2048
adapter: qlora
load_in_4bit: true
lora_r: 32
lora_alpha: 16
lora_target_linear: true
micro_batch_size: 4
gradient_accumulation_steps: 4
optimizer: adamw_torch
bf16: true
flash_attention: true
"""


@pytest.mark.parametrize("name", ASKED)
def test_the_answer_is_the_one_that_was_read(
    name: str, matches_snapshot: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "axolotl.yaml").write_text(AXOLOTL)
    shown = CliRunner().invoke(main, shlex.split(ASKED[name])).stdout
    matches_snapshot(f"answer_{name}", re.sub(r"in [0-9.]+ m?s\b", "in some time", shown))

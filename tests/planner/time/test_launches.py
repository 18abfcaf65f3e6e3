"""The host's Python is counted in launches of kernels, and fused attention by the dtype that it computes in."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory import Work
from planner.memory.linear.nf4 import LAUNCHES
from planner.problem.resolve import resolve_one

LAYERS, BLOCKS = 7, 16
"""Quantized layers of a block, and blocks, of Llama-3.2-1B."""


def work(gpu: str = "A100-40GB-SXM", **axes: Any) -> Work:
    """The work of a micro-batch of 512 tokens."""
    problem, _, candidate = resolve_one("llama-3.2-1b", gpu, None, axes, {"sequence_length": 512}, 1, 1)
    return problem.memory.work(candidate.strategy)


@pytest.mark.parametrize(("checkpointing", "passes"), [("none", 2), ("full", 3)])
def test_a_quantized_layer_takes_launches_beside_its_kernels_in_each_pass(checkpointing: str, passes: int) -> None:
    common = {"checkpointing": checkpointing, "precision": "bf16-true", "attention": "sdpa"}
    plain = work(finetuning="lora", **common)
    quantized = work(finetuning="qlora", quantization="nf4", unquantized_dtype="bf16", **common)
    layers = LAYERS * BLOCKS
    # The gradient of the first block's inputs is not needed, so that three of its layers have no backward.
    assert quantized.kernels - plain.kernels >= (passes * layers - 3) * (LAUNCHES + 1)


def test_fused_attention_of_a_quantized_base_prepared_by_peft_is_in_fp32_without_autocast() -> None:
    axes = {"precision": "fp16-true", "finetuning": "qlora", "quantization": "nf4", "attention": "sdpa-efficient"}
    prepared = work("T4", unquantized_dtype="fp32", **axes)
    assert prepared.attention_fp32 > 0
    assert prepared.attention_forward == prepared.attention_backward == 0
    half = work("T4", unquantized_dtype="fp16", **axes)
    assert half.attention_fp32 == 0
    assert half.attention_forward + half.attention_backward == prepared.attention_fp32

"""The memory model of DeepSpeed beside replays of DeepSpeed's own engine, to a thousandth."""

from __future__ import annotations

from typing import Any

import pytest

import planner

COMMON = {"gpu": "H100-80GB-SXM", "gpus": 2, "sequence_length": 128, "micro_batch_size": 2, "attention": "sdpa"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"sharding": "zero1", "sharding_backend": "deepspeed", "gradient_accumulation_steps": 2},
        {"sharding": "zero2", "finetuning": "lora", "precision": "bf16-true"},
        {"sharding": "zero2", "optimizer": "adamw-8bit", "overlap_comm": "yes", "reduce_bucket": 20_000_000},
        {"sharding": "zero3", "checkpointing": "full"},
        {"sharding": "zero3", "finetuning": "lora", "checkpointing": "full", "prefetch_bucket": 5_000_000},
        {"sharding": "zero1", "sharding_backend": "deepspeed", "offload": "optimizer", "gpus": 1},
        {"sharding": "zero2", "offload": "optimizer", "gradient_accumulation_steps": 2},
        {"sharding": "zero3", "offload": "optimizer", "finetuning": "bitfit"},
        {"sharding": "zero3", "offload": "cpu", "precision": "fp32", "gradient_accumulation_steps": 2},
        {"sharding": "zero3", "precision": "fp16-mixed", "sub_group_size": 1_000_000},
        {"sharding": "zero3", "precision": "fp16-mixed", "offload": "cpu", "checkpointing": "full"},
        {"sharding": "zero2", "finetuning": "qlora", "gpus": 8},
        {"sharding": "zero2", "finetuning": "qlora", "quantization": "int8", "unquantized_dtype": "bf16"},
        {"sharding": "zero3", "finetuning": "qlora", "quantization": "nf4-double", "checkpointing": "full"},
        {"sharding": "zero3", "finetuning": "qlora", "persistence_threshold": 1000, "offload": "cpu"},
        {"sharding": "zero2", "loss": "chunked"},
        {"sharding": "zero3", "loss": "chunked", "finetuning": "lora", "checkpointing": "full"},
        {"sharding": "zero3", "loss": "chunked", "max_reuse_distance": 0, "prefetch_bucket": 1_000_000},
    ],
    ids=lambda x: " ".join(map(str, x.values())),
)
def test_the_model_equals_the_replay(choices: dict[str, Any]) -> None:
    result = planner.verify("pythia-70m", **{**COMMON, **choices})
    replayed = max(phase.replay_bytes for phase in result.phases.values())
    predicted = max(phase.model_bytes for phase in result.phases.values())
    assert predicted == pytest.approx(replayed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("finetuning", ["full", "lora"])
def test_with_ligers_kernels_and_loss_the_model_equals_the_replay(finetuning: str) -> None:
    liger = {"kernels": "liger", "loss": "liger-fused-linear", "persistence_threshold": 0, "finetuning": finetuning}
    result = planner.verify("smollm2-135m", **{**COMMON, "sharding": "zero3", **liger})
    for phase in result.phases.values():
        assert phase.model_bytes == pytest.approx(phase.replay_bytes, rel=1e-3)

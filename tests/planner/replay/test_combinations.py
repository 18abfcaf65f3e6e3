"""Choices that once could not be replayed together, found where every choice meets every other."""

from typing import Any

import pytest

from planner import verify

TOLERANCE = 0.001
TWO_GPUS = {"gpus": 2, "finetuning": "full"}
FP8 = {"finetuning": "full", "precision": "fp8-mixed", "gpu": "H100-80GB-SXM"}
DORA = {"finetuning": "lora", "lora_variant": "dora"}


@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("smollm2-135m", {**TWO_GPUS, "sharding": "zero1", "optimizer": "apollo"}),
        ("smollm2-135m", {**TWO_GPUS, "sharding": "full_shard", "offload": "cpu", "update": "in-backward"}),
        ("falcon-rw-1b", {"finetuning": "qlora"}),
        ("smollm2-135m", {"checkpointing": "selective-matmuls", "attention": "flash-attention-2"}),
        ("smollm2-135m", {**DORA, "checkpointing": "selective-matmuls"}),
        ("smollm2-135m", {**FP8, "checkpointing": "selective-matmuls"}),
        ("smollm2-135m", {**DORA, "checkpointing": "selective-every-second-matmul", "lora_dropout": 0.1}),
    ],
    ids=[
        "groups of parameters beside ZeRO-1",
        "updates on the host",
        "linear layers with a forward of their own",
        "operators that a policy does not know",
        "products of norms",
        "products in fp8",
        "every second of them",
    ],
)
def test_model_and_replay_agree(model: str, choices: dict[str, Any]) -> None:
    workload = {"gpu": "A100-80GB-SXM", "sequence_length": 256, "micro_batch_size": 2, **choices}
    phases = verify(model, **workload).phases
    differences = {name: phase.difference for name, phase in phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)

"""A training loop that keeps the model's outputs: beside the replay, and by the bytes of the logits."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, estimate, verify

TOLERANCE = 0.001
"""Largest relative difference between model and replay, phase by phase."""

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 512,
}
T5 = {
    "model_type": "t5",
    "d_model": 256,
    "d_kv": 64,
    "d_ff": 512,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 32000,
    "dropout_rate": 0.0,
}
BERT = {**LLAMA, "model_type": "bert", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
del BERT["num_key_value_heads"]
MIXED, TRUE = {"precision": "bf16-mixed"}, {"precision": "bf16-true"}
TWICE = {"gradient_accumulation_steps": 2}
REENTRANT = {"checkpointing": "full-reentrant"}
SIZE, TOKENS = 4, 256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outputs", "fields", "choices"),
    [
        ("kept", LLAMA, TRUE),
        ("kept", LLAMA, {**MIXED, **TWICE}),
        ("kept-in-step", LLAMA, {**MIXED, **TWICE}),
        ("kept", LLAMA, {"precision": "fp32", "loss": "liger-cross-entropy"}),
        ("kept", LLAMA, {**TRUE, "loss": "flash-cross-entropy"}),
        ("kept-in-step", LLAMA, {**MIXED, **TWICE, "loss": "flash-cross-entropy"}),
        ("kept", LLAMA, {**TRUE, "loss": "chunked"}),
        ("kept", LLAMA, {**TRUE, **REENTRANT}),
        ("kept", LLAMA, {**TRUE, **REENTRANT, "finetuning": "lora"}),
        ("kept", LLAMA, {**TRUE, "sharding": "full_shard", "gpus": 2, **TWICE}),
        ("kept", LLAMA, {**MIXED, "evaluation_batch_size": 32}),
        ("kept", T5, TRUE),
        ("kept", T5, {**MIXED, "checkpointing": "full"}),
        ("kept", BERT, MIXED),
    ],
    ids=lambda x: x if isinstance(x, str) else x.get("model_type") or " ".join(map(str, x.values())),
)
def test_kept_outputs_take_what_the_replay_takes(
    outputs: str, fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields))
    sizes = {"sequence_length": TOKENS, "micro_batch_size": SIZE}
    result = verify(str(tmp_path), gpu="A100-80GB", **sizes, outputs=outputs, **choices)
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


def moments(outputs: str, **more: Any) -> dict[str, int]:
    request: dict[str, Any] = {"gpu": "A100-80GB", "precision": "bf16-true", "checkpointing": "none", **more}
    memory = estimate("smollm2-135m", **request, sequence_length=TOKENS, micro_batch_size=SIZE, outputs=outputs).memory
    return memory.moments


LOGITS = SIZE * TOKENS * 49152 * 2


@pytest.mark.parametrize(("outputs", "in_forward"), [("kept", LOGITS), ("kept-in-step", 0)])
def test_logits_stay_through_backward_and_the_step_and_with_a_plain_loop_through_the_next_forward(
    outputs: str, in_forward: int
) -> None:
    released, kept = moments("released"), moments(outputs)
    more = {moment: kept[moment] - released[moment] for moment in released}
    forward = dict.fromkeys(("forward", "end_of_forward"), in_forward)
    assert more == dict.fromkeys(released, LOGITS) | forward


def test_within_a_step_the_logits_of_one_micro_batch_stay_through_the_forward_of_the_next() -> None:
    released, kept = (moments(outputs, gradient_accumulation_steps=2) for outputs in ("released", "kept-in-step"))
    assert {moment: kept[moment] - released[moment] for moment in released} == dict.fromkeys(released, LOGITS)


def test_mixed_precision_keeps_the_fp32_copy_that_accelerate_returns() -> None:
    released, kept = (moments(outputs, precision="bf16-mixed") for outputs in ("released", "kept"))
    assert kept["start_of_backward"] - released["start_of_backward"] == 2 * LOGITS


def test_a_fused_loss_returns_no_logits_to_keep() -> None:
    released, kept = (moments(outputs, loss="liger-fused-linear") for outputs in ("released", "kept"))
    assert kept == released


def test_a_model_known_by_replays_alone_refuses_outputs_that_are_kept() -> None:
    with pytest.raises(ContradictionError, match="whose loop releases them"):
        estimate("tests.planner.profiles.own_models:two_kinds", gpu="T4", outputs="kept")

"""Embedding models, trained on pairs of texts: beside the replay, and what cannot be planned."""

from __future__ import annotations

from typing import Any

import pytest

from planner import ContradictionError, estimate, fit, verify

TOLERANCE = 0.002
"""Largest relative difference between model and replay, phase by phase."""

MIXED, TRUE = {"precision": "bf16-mixed"}, {"precision": "bf16-true"}
DDP = {"gpus": 2, "sharding": "no_shard"}
TWICE = {"gradient_accumulation_steps": 2}
PAIRS = {"task": "contrastive", "gpu": "A100-80GB"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("e5-small", TRUE),
        ("bge-small", TRUE),
        ("e5-small", {**MIXED, **TWICE}),
        ("e5-small", {**MIXED, "checkpointing": "full"}),
        ("e5-small", {**MIXED, **TWICE, "checkpointing": "full-reentrant"}),
        ("e5-small", {**MIXED, **DDP}),
        ("e5-small", {**MIXED, **DDP, **TWICE, "gradient_buckets": "views"}),
        ("e5-small", {**MIXED, "finetuning": "lora", "attention": "eager"}),
        ("e5-small", {**MIXED, "finetuning": "qlora", "checkpointing": "full"}),
        ("e5-small", {**MIXED, "finetuning": "freeze"}),
        ("roberta-base", {"precision": "fp32"}),
        ("deberta-v3-xsmall", MIXED),
        ("e5-small", {"precision": "fp32", "sequence_length": 8, "micro_batch_size": 1024, "checkpointing": "full"}),
    ],
    ids=lambda x: x if isinstance(x, str) else " ".join(map(str, x.values())),
)
def test_pairs_take_what_the_replay_takes(model: str, choices: dict[str, Any]) -> None:
    sizes = {"sequence_length": 128, "micro_batch_size": 8, "checkpointing": "none"}
    result = verify(model, **{**PAIRS, **sizes, **choices})
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


def test_a_pair_takes_the_activations_of_two_texts_and_one_set_of_gradients() -> None:
    request: dict[str, Any] = {"gpu": "A100-80GB", "checkpointing": "none", "precision": "fp32"}
    one, two = (
        estimate("bert-base", **request, task=task, micro_batch_size=32).memory.components
        for task in ("sequence-classification", "contrastive")
    )
    assert two.activations == pytest.approx(2 * one.activations, rel=0.01)
    assert two.optimizer_states == pytest.approx(one.optimizer_states, rel=0.03)


def test_speed_counts_the_tokens_of_both_texts() -> None:
    time = estimate("e5-base", gpu="T4", sequence_length=256, micro_batch_size=16).time
    assert time.tokens_per_second == pytest.approx(2 * 256 * 16 / time.step_seconds)


def test_the_answer_says_what_a_sample_is() -> None:
    notes = fit("e5-base", gpu="T4").notes
    assert any("a sample is a pair of texts of 512 tokens each" in note for note in notes)


def test_scores_grow_with_the_square_of_the_micro_batch() -> None:
    moments = [
        estimate("e5-small", gpu="A100-80GB", sequence_length=8, micro_batch_size=n).memory.moments["start_of_backward"]
        for n in (1000, 2000, 3000)
    ]
    assert moments[2] - 2 * moments[1] + moments[0] == 2 * 4 * 4 * 1000**2


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"gpus": 2, "sharding": "full_shard"}, "derived for whole models alone"),
        ({**DDP, "checkpointing": "full-reentrant"}, "given each gradient twice"),
        ({"update": "in-backward"}, "updates in backward are not derived"),
        ({"precision": "fp8-mixed", "gpu": "H100-80GB-SXM"}, "fp8 is not derived"),
        ({"outputs": "kept"}, "returns no outputs"),
        ({"evaluation_batch_size": 8}, "an evaluation of sentence embeddings is not derived"),
        ({"finetuning": "lora", "trained_modules": "head"}, "has no head"),
    ],
)
def test_what_is_not_derived_is_refused_with_the_reason(choices: dict[str, Any], reason: str) -> None:
    with pytest.raises(ContradictionError, match=reason):
        estimate("e5-small", **{**PAIRS, **choices})


def test_several_gpus_have_whole_models_unless_asked_otherwise() -> None:
    assert estimate("e5-small", gpu="T4", gpus=2).strategy.sharding == "no_shard"

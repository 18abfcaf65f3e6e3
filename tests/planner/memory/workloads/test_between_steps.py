"""Evaluation and saving, which happen between steps."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import PlannerError, estimate, fit, verify

SMALL = {"model": "pythia-70m", "gpu": "A100-80GB", "sequence_length": 256}
TOLERANCE = 0.001
"""Largest relative difference between model and replay."""


@pytest.mark.parametrize(
    "choices",
    [
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true", "finetuning": "lora", "checkpointing": "full"},
        {"precision": "bf16-mixed", "sharding": "full_shard", "gpus": 2},
    ],
    ids=lambda choices: " ".join(map(str, choices.values())),
)
def test_an_evaluation_takes_what_its_replay_takes(choices: dict[str, Any]) -> None:
    result = verify(**SMALL, evaluation_batch_size=16, **choices)
    assert result.phases["evaluation"].difference == pytest.approx(0.0, abs=TOLERANCE)
    assert result.plan.memory.moment == "evaluation"


def test_an_evaluation_of_an_encoder_and_a_decoder_takes_what_its_replay_takes(tmp_path: Path) -> None:
    sizes = {"d_model": 256, "d_ff": 512, "num_layers": 2, "num_heads": 4, "vocab_size": 2000}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", **sizes}))
    result = verify(
        str(tmp_path), gpu="A100-80GB", sequence_length=256, precision="bf16-mixed", evaluation_batch_size=16
    )
    assert result.phases["evaluation"].difference == pytest.approx(0.0, abs=TOLERANCE)


def test_nothing_is_dropped_in_an_evaluation(tmp_path: Path) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    fields = {"model_type": "bert", **sizes, "vocab_size": 1000, "max_position_embeddings": 256, "type_vocab_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    how = {"gpu": "A100-80GB", "sequence_length": 256, "attention": "eager", "task": "sequence-classification"}
    result = verify(str(tmp_path), **how, evaluation_batch_size=16)
    assert result.phases["evaluation"].difference == pytest.approx(0.0, abs=TOLERANCE)


def test_an_evaluation_of_many_samples_is_the_peak_whatever_the_micro_batch() -> None:
    without = fit("llama-2-7b", gpu="A100-40GB", finetuning="lora")
    result = fit("llama-2-7b", gpu="A100-40GB", finetuning="lora", evaluation_batch_size=40)
    assert "evaluation" not in without.plans[0].memory.moments
    assert without.plans
    assert not result.plans
    assert result.shortfall is not None
    assert result.shortfall.moment == "evaluation"


def test_an_evaluation_that_needs_less_than_training_changes_nothing_else() -> None:
    without = estimate("llama-2-7b", gpu="A100-80GB").memory
    evaluated = estimate("llama-2-7b", gpu="A100-80GB", evaluation_batch_size=1).memory
    assert evaluated.moments.pop("evaluation") < max(without.moments.values())
    assert evaluated == without


def test_saving_gathers_the_largest_parameter_of_a_sharded_model() -> None:
    memory = estimate("llama-3.2-1b", gpu="A100-80GB", gpus=8, precision="bf16-mixed").memory
    states = memory.components.parameters + memory.components.optimizer_states
    embedding = 128_256 * 2048 * 4
    workspaces, ids = 2 * (2 * 4096 * 1024 + 8 * 16 * 1024), 2 * 2048 * 8
    assert memory.moments["saving"] == states + embedding + workspaces + ids
    assert "saving" not in estimate("llama-3.2-1b", gpu="A100-80GB").memory.moments


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_batch_that_cannot_be_evaluated_is_refused(size: Any) -> None:
    with pytest.raises(PlannerError, match="evaluation_batch_size"):
        estimate("gpt2", gpu="T4", evaluation_batch_size=size)

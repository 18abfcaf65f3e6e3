"""Checkpointing and sharding on one small model: each technique replayed beside the memory model, alone and crossed."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, verify
from strategies import Checkpointing

TOLERANCE = 0.001
"""Largest relative difference between model and replay, phase by phase."""

FEW_WORDS = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 128,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
"""So few that the peaks are those of blocks, not of the loss."""

TRUE, MIXED = {"precision": "bf16-true"}, {"precision": "bf16-mixed"}
LORA = {**MIXED, "finetuning": "lora"}
GPTQ = {"precision": "fp16-mixed", "finetuning": "qlora", "quantization": "gptq-4bit-triton"}
FSDP1 = {"gpus": 2, "sharding": "full_shard", "sharding_backend": "fsdp1"}
POLICIES = [choice.value for choice in Checkpointing if choice.facts.recomputes]


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(FEW_WORDS))
    return str(tmp_path)


def differences(model: str, **choices: Any) -> dict[str, float]:
    result = verify(model, **{"gpu": "A100-80GB", "sequence_length": 512, "micro_batch_size": 4, **choices})
    return {name: phase.difference for name, phase in result.phases.items()}


OLMO2 = {"model_type": "olmo2", "pad_token_id": 0}
BERT = {"model_type": "bert"}
CLASSIFIED = {"task": "token-classification", "checkpointing": "full-reentrant"}


def spelled(value: object) -> str | None:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else None


@pytest.mark.parametrize("checkpointing", POLICIES)
@pytest.mark.parametrize("choices", [TRUE, LORA], ids=spelled)
def test_every_policy_equals_its_replay(model: str, checkpointing: str, choices: dict[str, Any]) -> None:
    found = differences(model, checkpointing=checkpointing, **choices)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize(
    "choices",
    [
        {**MIXED, "checkpointing": "full", "checkpoint_every": 2},
        {**LORA, "checkpointing": "offload", "checkpoint_every": 3, "gradient_accumulation_steps": 2},
        {"precision": "fp32", "attention": "eager", "checkpointing": "selective-matmuls"},
        {**MIXED, "finetuning": "qlora", "checkpointing": "selective-every-second-matmul"},
        {**MIXED, "checkpointing": "selective-matmuls", "gpus": 2, "sharding": "full_shard"},
        {**LORA, "checkpointing": "full-reentrant", "gpus": 2, "sharding": "full_shard"},
        {**MIXED, "checkpointing": "full-reentrant", "attention": "eager", "checkpoint_every": 2},
        {**TRUE, **FSDP1, "checkpointing": "full-reentrant"},
        {**LORA, **FSDP1, "checkpointing": "full-reentrant"},
        {**LORA, **FSDP1, "sharding": "shard_grad_op", "checkpointing": "full-reentrant"},
        {**TRUE, **FSDP1, "finetuning": "freeze", "checkpointing": "full-reentrant", "gradient_accumulation_steps": 3},
        {**GPTQ, **FSDP1, "checkpointing": "full-reentrant"},
        {**GPTQ, **FSDP1, "checkpointing": "none", "gpus": 4},
        {**MIXED, "gpus": 2, "sharding": "no_shard", "gradient_buckets": "views"},
        {**TRUE, "gpus": 2, "sharding": "no_shard", "gradient_buckets": "views", "gradient_accumulation_steps": 3},
        {**MIXED, "gpus": 2, "sharding": "zero1", "optimizer": "adamw-foreach"},
        {**LORA, "gpus": 4, "sharding": "zero1", "checkpointing": "full"},
        {**MIXED, "gpus": 2, "nodes": 2, "sharding": "hybrid_shard"},
        {**TRUE, "gpus": 2, "nodes": 2, "sharding": "hybrid_shard", "gradient_accumulation_steps": 2},
        {**LORA, "gpus": 4, "nodes": 2, "sharding": "hybrid_shard", "shard_size": 2, "checkpointing": "full"},
        {**MIXED, "gpus": 8, "sharding": "full_shard", "reshard_size": 2},
        {**LORA, "gpus": 8, "sharding": "full_shard", "reshard_size": 4, "checkpointing": "full"},
        {**MIXED, "gpus": 4, "sharding": "full_shard", "offload": "cpu", "checkpointing": "full"},
        {**TRUE, "gpus": 4, "sharding": "shard_grad_op", "offload": "cpu", "gradient_accumulation_steps": 2},
    ],
    ids=spelled,
)
def test_techniques_that_meet_equal_their_replay(model: str, choices: dict[str, Any]) -> None:
    found = differences(model, **choices)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"checkpointing": "offload"}, "no other memory to offload to"),
        ({"gpus": 2, "sharding": "full_shard", "offload": "cpu"}, "wait in the host's memory are a stand-in"),
    ],
    ids=str,
)
def test_what_waits_on_the_host_does_not_run_for_real(model: str, choices: dict[str, Any], reason: str) -> None:
    with pytest.raises(ContradictionError, match=reason):
        verify(model, gpu="A100-80GB", device="cpu", **choices)


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        (OLMO2, {"finetuning": "qlora", "checkpointing": "full"}),
        (OLMO2, {"finetuning": "qlora", "checkpointing": "full-reentrant", "checkpoint_every": 2}),
        (OLMO2, {"finetuning": "qlora", "checkpointing": "full", "gpus": 2, "sharding": "full_shard"}),
        (BERT, {**MIXED, **CLASSIFIED}),
        (BERT, {**LORA, **CLASSIFIED}),
    ],
    ids=spelled,
)
def test_a_block_without_a_norm_before_its_products_has_a_leaf_cast_once(
    fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**FEW_WORDS, **fields}))
    found = differences(str(tmp_path), **choices)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


GPT2 = {"n_embd": 256, "n_layer": 6, "n_head": 4, "n_positions": 1024, "vocab_size": 128}


@pytest.mark.parametrize("precision", [TRUE, MIXED], ids=spelled)
def test_an_activation_written_out_holds_what_its_expression_does(tmp_path: Path, precision: dict[str, Any]) -> None:
    """Where nothing is saved, a value ends with the operation that reads it; position embeddings stay in the body."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **GPT2}))
    found = differences(str(tmp_path), **precision, checkpointing="full", sequence_length=1024, micro_batch_size=8)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=0.002)

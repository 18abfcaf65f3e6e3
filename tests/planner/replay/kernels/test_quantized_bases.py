"""Quantized base models beside their replays: what their layers do that other layers do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, verify

TOLERANCE = 0.0002
"""Largest relative difference between model and replay, phase by phase."""

QLORA: dict[str, Any] = {
    "gpu": "A100-80GB-SXM",
    "sequence_length": 512,
    "micro_batch_size": 2,
    "finetuning": "qlora",
    "quantization": "nf4",
}


def differences(model: str, **choices: Any) -> dict[str, float]:
    return {name: phase.difference for name, phase in verify(model, **{**QLORA, **choices}).phases.items()}


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("unquantized", ["fp32", "bf16"])
@pytest.mark.parametrize("quantization", ["nf4", "nf4-double"])
def test_a_bias_has_the_dtype_that_its_layer_computes_in(quantization: str, unquantized: str, precision: str) -> None:
    found = differences("gpt2", quantization=quantization, unquantized_dtype=unquantized, precision=precision)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("framework", ["trl", "axolotl", "llama-factory"])
def test_a_framework_runs_the_step_of_its_choices(framework: str) -> None:
    found = differences("smollm2-135m", framework=framework)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_dora_runs_over_a_quantized_conv1d(quantization: str) -> None:
    """Its weight is turned round before it is quantized, so that PEFT does not turn it."""
    found = differences("gpt2", quantization=quantization, lora_variant="dora")
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


MIXTURE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXTURES = {
    "mixtral": {**MIXTURE, "num_local_experts": 8},
    "olmoe": {**MIXTURE, "num_experts": 4},
    "qwen3_moe": {**MIXTURE, "num_experts": 8, "moe_intermediate_size": 256, "head_dim": 64},
    "qwen2_moe": {
        **MIXTURE,
        "num_experts": 8,
        "moe_intermediate_size": 128,
        "shared_expert_intermediate_size": 512,
    },
    "deepseek_v3": {
        **MIXTURE,
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "moe_intermediate_size": 128,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 64,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 32,
        "v_head_dim": 64,
    },
}
ATTENTION = {"lora_targets": "q_proj,k_proj,v_proj,o_proj"}


@pytest.mark.parametrize(
    ("model_type", "choices"),
    [
        ("mixtral", {**ATTENTION}),
        ("mixtral", {**ATTENTION, "checkpointing": "full", "lora_dropout": 0.1, "unquantized_dtype": "bf16"}),
        ("mixtral", {"quantization": "nf4-double", "precision": "bf16-true"}),
        ("mixtral", {"quantization": "int8", "checkpointing": "full"}),
        ("mixtral", {**ATTENTION, "quantization": "gptq-4bit-triton", "precision": "fp16-mixed"}),
        ("mixtral", {**ATTENTION, "gpus": 2, "sharding": "full_shard", "unquantized_dtype": "bf16"}),
        ("olmoe", {"checkpointing": "full"}),
        ("qwen3_moe", {**ATTENTION, "checkpointing": "full"}),
        ("qwen3_moe", {"unquantized_dtype": "bf16"}),
        ("qwen2_moe", {"lora_variant": "dora"}),
        ("qwen2_moe", {"checkpointing": "full", "lora_dropout": 0.1}),
        ("deepseek_v3", {"unquantized_dtype": "bf16"}),
        ("deepseek_v3", {"checkpointing": "full"}),
    ],
    ids=str,
)
def test_experts_that_are_quantized_run_one_after_the_other(
    model_type: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, **MIXTURES[model_type]}))
    found = differences(str(tmp_path), expert_quantization="same", **choices)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=0.001)


def test_a_replay_of_experts_that_were_never_linear_layers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "granitemoe", **MIXTURES["mixtral"]}))
    with pytest.raises(ContradictionError, match="no experts that were linear layers of their own"):
        differences(str(tmp_path), expert_quantization="same")

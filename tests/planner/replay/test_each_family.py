"""One small model of each family, replayed beside the memory model: sizes are made up, the forward passes are real."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, verify

TOLERANCE = 0.005
"""Largest relative difference between model and replay, phase by phase."""

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
TIED = {"tie_word_embeddings": True}
T5 = {"d_model": 256, "d_ff": 512, "num_layers": 3, "num_heads": 4}
DEBERTA = {
    "position_buckets": 64,
    "relative_attention": True,
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
}
CLASSIFIER = {"architectures": ["DebertaV2ForSequenceClassification"]}
MIXED, LORA = {"precision": "bf16-mixed"}, {"precision": "bf16-mixed", "finetuning": "lora"}


@pytest.mark.parametrize(
    ("model_type", "fields", "choices"),
    [
        ("gemma2", {"head_dim": 64}, {**MIXED, "checkpointing": "full"}),
        ("gemma3_text", {"head_dim": 64, "num_hidden_layers": 7, "sliding_window": 128}, MIXED),
        ("phi", {"partial_rotary_factor": 0.5}, MIXED),
        ("stablelm", {"use_qkv_bias": True, "use_parallel_residual": True}, LORA),
        ("olmo", {}, {"precision": "bf16-true"}),
        ("cohere", {"use_qk_norm": True}, MIXED),
        ("nemotron", {"head_dim": 64}, MIXED),
        ("gptj", {"n_embd": 256, "n_layer": 3, "n_head": 4, "n_positions": 256, "rotary_dim": 32}, MIXED),
        ("mixtral", {"num_local_experts": 8}, LORA),
        ("qwen3_moe", {**EXPERTS, "head_dim": 64, "norm_topk_prob": True, "mlp_only_layers": [0]}, LORA),
        ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 256}, LORA),
        ("olmoe", {**EXPERTS}, MIXED),
        ("bert", TIED, MIXED),
        ("bert", {"architectures": ["BertForSequenceClassification"]}, {**MIXED, "attention": "eager"}),
        ("roberta", TIED, {**LORA, "checkpointing": "full"}),
        ("vit", {"image_size": 240, "num_labels": 1000}, MIXED),
        ("t5", {**T5, "feed_forward_proj": "gated-gelu"}, {**LORA, "precision": "fp16-mixed", "checkpointing": "full"}),
        ("t5", {**T5, **TIED}, {"precision": "fp32", "gpus": 2, "sharding": "full_shard"}),
        ("deberta-v2", {**DEBERTA, **TIED}, {**MIXED, "gpus": 2, "sharding": "full_shard", "checkpointing": "full"}),
        ("deberta-v2", {**DEBERTA, **CLASSIFIER}, {"precision": "fp16-mixed", "finetuning": "qlora"}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_every_phase_of_a_family_equals_the_replay(
    model_type: str, fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, **fields, "model_type": model_type}))
    length = None if "image_size" in fields else 256
    result = verify(str(tmp_path), gpu="A100-80GB", sequence_length=length, micro_batch_size=4, **choices)
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


def test_sdpa_is_refused_where_transformers_has_none() -> None:
    with pytest.raises(ContradictionError, match="runs gemma-2-2b without SDPA"):
        verify("gemma-2-2b", gpu="A100-80GB", attention="sdpa")

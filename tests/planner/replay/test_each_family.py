"""One small model of each family, replayed beside the memory model: sizes are made up, the forward passes are real."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, estimate, verify

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
FEW_WORDS = {"vocab_size": 512}
"""The peak is in the blocks then, not in the loss."""
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 96,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "n_routed_experts": 16,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 128,
    "first_k_dense_replace": 1,
    "vocab_size": 512,
}
"""Few words, so that a mixture of experts is the peak."""
EVERY_EXPERT = {"num_local_experts": 4, "intermediate_size_mlp": 1024, "head_dim": 64, "attention_chunk_size": 128}
TIED = {"tie_word_embeddings": True}
GPTJ = {"n_embd": 256, "n_layer": 3, "n_head": 4, "n_positions": 256, "rotary_dim": 32}
T5 = {"d_model": 256, "d_ff": 512, "num_layers": 3, "num_heads": 4}
BUT_THE_HEAD = "q_lin,k_lin,v_lin,out_lin,lin1,lin2"
"""PEFT copies pre_classifier with the head, and cannot if it is adapted."""

DISTILBERT = {"hidden_dim": 512}
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
        ("gptj", GPTJ, MIXED),
        ("gptj", GPTJ, {**LORA, "attention": "eager", "checkpointing": "full"}),
        ("gptj", GPTJ, {"precision": "bf16-true", "attention": "flash-attention-2"}),
        ("mixtral", {"num_local_experts": 8}, LORA),
        ("qwen3_moe", {**EXPERTS, "head_dim": 64, "norm_topk_prob": True, "mlp_only_layers": [0]}, LORA),
        ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 256}, LORA),
        ("olmoe", {**EXPERTS}, MIXED),
        ("falcon", {"multi_query": True}, {"precision": "bf16-true"}),
        ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, **FEW_WORDS}, MIXED),
        ("falcon", {"alibi": True, "multi_query": False, "bias": True, "parallel_attn": False, **FEW_WORDS}, MIXED),
        ("falcon", {"alibi": True, "multi_query": False, "bias": True}, {"precision": "fp32", "attention": "eager"}),
        ("bloom", {"n_layer": 3, "n_head": 4, **FEW_WORDS}, {**MIXED, "checkpointing": "full"}),
        ("mpt", {"d_model": 256, "n_layers": 3, "n_heads": 4, "max_seq_len": 512, **FEW_WORDS}, MIXED),
        ("gpt_oss", {"head_dim": 64, "num_local_experts": 8, "num_experts_per_tok": 2, **FEW_WORDS}, MIXED),
        ("gpt_oss", {"head_dim": 64, "num_local_experts": 8}, {**LORA, "checkpointing": "full"}),
        ("olmoe", {**EXPERTS, "vocab_size": 512}, {**LORA, "checkpointing": "full"}),
        (
            "granitemoe",
            {"num_local_experts": 8, "vocab_size": 512},
            {"precision": "bf16-true", "checkpointing": "full"},
        ),
        ("deepseek_v3", LATENT, {"precision": "bf16-true", "checkpointing": "full"}),
        ("deepseek_v3", LATENT, {**LORA, "checkpointing": "full", "sharding": "full_shard", "gpus": 8}),
        ("deepseek_v2", {**LATENT, "topk_method": "group_limited_greedy"}, MIXED),
        ("deepseek_v2", {**LATENT, "q_lora_rank": None}, {"precision": "bf16-mixed", "finetuning": "qlora"}),
        ("llama4_text", {**EVERY_EXPERT, "num_hidden_layers": 4}, {**MIXED, "checkpointing": "full"}),
        ("llama4_text", EVERY_EXPERT, {"precision": "bf16-true", "sharding": "full_shard", "gpus": 8}),
        ("bert", TIED, MIXED),
        ("bert", {"architectures": ["BertForSequenceClassification"]}, {**MIXED, "attention": "eager"}),
        ("roberta", TIED, {**LORA, "checkpointing": "full"}),
        ("distilbert", DISTILBERT, {**MIXED, "attention": "eager"}),
        ("distilbert", {**DISTILBERT, **TIED}, {**LORA, "checkpointing": "full", "lora_targets": BUT_THE_HEAD}),
        (
            "distilbert",
            {**DISTILBERT, "tie_word_embeddings": False},
            {"precision": "fp16-mixed", "finetuning": "qlora", "lora_targets": BUT_THE_HEAD},
        ),
        ("distilbert", DISTILBERT, {**MIXED, "task": "contrastive"}),
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


def test_fsdp_is_refused_where_trained_parameters_have_two_dtypes() -> None:
    with pytest.raises(ContradictionError, match="keeps this model's routers in fp32"):
        estimate("deepseek-v2-lite", gpu="A100-80GB", gpus=8, sharding="full_shard", precision="bf16-true")


def test_qlora_is_refused_where_a_quantized_base_has_another_forward() -> None:
    with pytest.raises(ContradictionError, match="has this model's experts one after the other"):
        estimate("llama-4-scout", gpu="H200", finetuning="qlora")

"""Kernels of other libraries than transformers: small models with each, replayed beside the memory model."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, verify

TOLERANCE = 0.002
"""Largest relative difference between model and replay, phase by phase."""

COMPILED_TOLERANCE = 0.02
"""The same of compiled blocks, which the memory model only follows to the buffer."""

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
WORDS = {"vocab_size": 33_000}
"""Among which the family's padding has a place."""
HEADS, TIED = {"head_dim": 64}, {"tie_word_embeddings": True}
TRUE, MIXED, LORA = {"precision": "bf16-true"}, {"precision": "bf16-mixed"}, {"finetuning": "lora"}
QLORA, FULL, ACCUMULATED = {"finetuning": "qlora"}, {"checkpointing": "full"}, {"gradient_accumulation_steps": 4}
SHARDED = {"gpus": 2, "sharding": "full_shard"}
COMPILED = {"kernels": "compile"}
LIGER, FUSED = {"kernels": "liger"}, {"loss": "liger-fused-linear"}
H100, T4 = {"gpu": "H100-80GB-SXM"}, {"gpu": "T4"}


def differences(directory: Path, model_type: str, fields: dict[str, Any], choices: dict[str, Any]) -> dict[str, float]:
    (directory / "config.json").write_text(json.dumps({**SMALL, **fields, "model_type": model_type}))
    workload = {"gpu": "A100-80GB-SXM", "sequence_length": 512, "micro_batch_size": 6, **choices}
    return {name: phase.difference for name, phase in verify(str(directory), **workload).phases.items()}


@pytest.mark.parametrize(
    ("model_type", "fields", "choices"),
    [
        ("gemma", HEADS, {**TRUE, **FUSED}),
        ("gemma2", {**HEADS, **TIED}, {**MIXED, **FUSED, **FULL}),
        ("gemma3_text", {**HEADS, "sliding_window": 128, "num_hidden_layers": 7}, {**LORA, **MIXED, **FUSED}),
        ("granite", {}, {**MIXED, "loss": "liger-cross-entropy"}),
        ("llama", {}, {**TRUE, **FUSED, **SHARDED}),
        ("llama", {}, {**QLORA, **FUSED}),
        ("mistral", {}, {**LORA, **FULL, **SHARDED}),
        ("olmo2", {}, {**MIXED, **FUSED}),
        ("phi3", WORDS, {**MIXED, **FUSED}),
        ("phi3", {**WORDS, "partial_rotary_factor": 0.5}, {**LORA, **FUSED}),
        ("qwen2", TIED, {**MIXED, **FUSED, **ACCUMULATED}),
        ("qwen3", HEADS, {**TRUE, "attention": "eager"}),
        ("qwen2", {}, {**FUSED, **FULL, **T4, "precision": "fp16-mixed"}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_liger_kernels(model_type: str, fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path) -> None:
    found = differences(tmp_path, model_type, fields, {**LIGER, **choices})
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("model_type", "fields", "choices"),
    [
        ("llama", {}, MIXED),
        ("llama", {}, {**MIXED, **FULL}),
        ("llama", {}, {**TRUE, **LORA}),
        ("llama", {}, {**MIXED, **LORA, **FULL, **SHARDED}),
        ("gemma", HEADS, {**TRUE, **SHARDED}),
        ("phi3", WORDS, {**MIXED, **LORA}),
        ("qwen3", HEADS, {**MIXED, **ACCUMULATED}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_compiled_blocks(model_type: str, fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path) -> None:
    """The model frees a value with its variable, a graph behind its last reader: the largest phase can be larger."""
    found = differences(tmp_path, model_type, fields, {**COMPILED, **FUSED, **choices})
    assert found["backward"] == pytest.approx(0.0, abs=COMPILED_TOLERANCE)


def test_compiled_blocks_save_less_than_eager_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "model_type": "llama"}))
    workload = {"gpu": "A100-80GB-SXM", "sequence_length": 512, "micro_batch_size": 6, **TRUE, **FUSED}
    eager, compiled = (verify(str(tmp_path), **workload, kernels=k).phases["backward"] for k in ("eager", "compile"))
    assert compiled.replay_bytes < 0.9 * eager.replay_bytes


@pytest.mark.parametrize(
    ("loss", "choices"),
    [
        ("liger-fused-linear", {**MIXED, **SHARDED, **FULL}),
        ("liger-fused-linear", {"precision": "fp32", **FULL}),
        ("liger-cross-entropy", {**LORA, **MIXED}),
        ("flash-cross-entropy", {**MIXED, **FULL, **ACCUMULATED}),
        ("flash-cross-entropy", {**TRUE, **SHARDED}),
        ("flash-cross-entropy", {**LORA, **MIXED}),
        ("flash-cross-entropy", {**MIXED, **SHARDED, "sharding_backend": "fsdp1", "evaluation_batch_size": 24}),
        ("compiled", {**MIXED, **SHARDED}),
        ("compiled", {**TRUE, **FULL}),
        ("liger-cross-entropy", {**MIXED, "evaluation_batch_size": 24}),
        ("chunked", {**TRUE, **FULL, "micro_batch_size": 12}),
        ("chunked", {**MIXED, **ACCUMULATED}),
        ("chunked", {**LORA, **SHARDED}),
        ("chunked", QLORA),
        ("cut-cross-entropy", {**MIXED, **FULL}),
        ("cut-cross-entropy", {**TRUE, **SHARDED}),
        ("cut-cross-entropy", QLORA),
        ("transformers-4.48", {**MIXED, **SHARDED, "outputs": "kept"}),
        ("transformers-4.48", {**QLORA, **ACCUMULATED}),
        ("transformers-4.45", {**MIXED, **FULL, "evaluation_batch_size": 24}),
        ("transformers-4.45", {**TRUE, **SHARDED, "sharding_backend": "fsdp1"}),
    ],
)
def test_losses(loss: str, choices: dict[str, Any], tmp_path: Path) -> None:
    found = differences(tmp_path, "llama", {"vocab_size": 16_384}, {**choices, "loss": loss})
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("model_type", "attention", "choices"),
    [
        ("llama", "flash-attention-2", {**MIXED, **FULL}),
        ("qwen3", "flash-attention-2", {**LORA, **SHARDED, **FULL}),
        ("gemma2", "flash-attention-2", TRUE),
        ("mistral", "flash-attention-2", {**QLORA, **FULL}),
        ("llama", "eager", {**LORA, **FULL}),
        ("llama", "flash-attention-3", {**MIXED, **H100, **ACCUMULATED}),
        ("olmo2", "flash-attention-3", {**LORA, **H100, **FULL}),
        ("llama", "flex", {**TRUE, **SHARDED, **FULL}),
        ("gemma3_text", "flex", {**MIXED, "sequence_length": 500}),
        ("gpt_neox", "sdpa-efficient", {**MIXED, **FULL}),
        ("llama", "sdpa-efficient", {**MIXED, **FULL}),
        ("llama", "sdpa-efficient", {"precision": "fp32", **LORA}),
        ("qwen3", "sdpa-efficient", {**QLORA, **FULL}),
        ("gemma3_text", "sdpa-efficient", {**LORA, **MIXED, "sequence_length": 500}),
    ],
)
def test_attention(model_type: str, attention: str, choices: dict[str, Any], tmp_path: Path) -> None:
    """With a loss that leaves the peak to the blocks."""
    fields = {**HEADS, "sliding_window": 128} if model_type.startswith(("gemma", "mistral")) else {}
    loss = "chunked" if model_type == "gpt_neox" else "liger-fused-linear"
    found = differences(tmp_path, model_type, fields, {"attention": attention, "loss": loss, **choices})
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


def test_a_stand_in_does_not_run_for_real() -> None:
    with pytest.raises(ContradictionError, match="loss chunked is a stand-in"):
        verify("smollm2-135m", gpu="A100-80GB-SXM", sequence_length=64, loss="chunked", device="cpu")


@pytest.mark.parametrize(
    ("model", "choices", "reason"),
    [
        ("gemma-2-2b", {"attention": "sdpa-efficient"}, "runs gemma-2-2b without SDPA"),
        ("gpt2", {"attention": "flex"}, "without flex_attention"),
        ("falcon-7b", {"attention": "flash-attention-2"}, "has an attention of its own"),
        ("smollm2-135m", {"attention": "flash-attention-2", "precision": "fp32"}, "half precision only"),
        ("smollm2-135m", {"attention": "flash-attention-3"}, "no CUDA kernels for A100"),
        ("gpt2", LIGER, "no kernels for gpt2"),
        ("gpt2", COMPILED, "an account for gemma, granite"),
        ("smollm2-135m", {**COMPILED, **QLORA}, "no account of bitsandbytes"),
        ("smollm2-135m", {**COMPILED, "precision": "fp32"}, "flash kernel alone"),
        ("smollm2-135m", {**COMPILED, "attention": "eager"}, "flash kernel alone"),
        ("smollm2-135m", {**COMPILED, "checkpointing": "selective-matmuls"}, "of all blocks as a whole, or of none"),
        ("smollm2-135m", {**COMPILED, "checkpointing": "offload"}, "of all blocks as a whole, or of none"),
        ("smollm2-135m", {**COMPILED, **FULL, "checkpoint_every": 2}, "of all blocks as a whole, or of none"),
        ("smollm2-135m", {**COMPILED, "update": "in-backward"}, "no account of updates in backward"),
        ("smollm2-135m", {**COMPILED, "finetuning": "freeze"}, "no account of freeze"),
        ("smollm2-135m", {**COMPILED, "finetuning": "bitfit"}, "no account of bitfit"),
        ("smollm2-135m", {**COMPILED, **QLORA, "quantization": "gptq-4bit"}, "no account of GPTQModel"),
        ("smollm2-135m", {**COMPILED, **LORA, "lora_variant": "dora"}, "plain LoRA without dropout"),
        ("smollm2-135m", {**COMPILED, **LORA, "lora_dropout": 0.1}, "plain LoRA without dropout"),
        ("smollm2-135m", {**COMPILED, "batching": "padded"}, "full sequences alone"),
        ("smollm2-135m", {**COMPILED, "evaluation_batch_size": 8}, "no account of evaluation"),
        ("gpt2", FUSED, "no fused linear cross-entropy for gpt2"),
        ("mistral-7b", {"loss": "liger-cross-entropy"}, "does not replace the cross-entropy of mistral-7b"),
        ("qwen3-0.6b", {"loss": "transformers-4.48"}, "qwen3-0.6b had no such loss in transformers 4.48"),
        ("gpt2", {"loss": "transformers-4.45"}, "gpt2 had no such loss in transformers 4.45"),
    ],
)
def test_what_no_library_has_is_refused_with_the_reason(model: str, choices: dict[str, str], reason: str) -> None:
    with pytest.raises(ContradictionError, match=reason):
        verify(model, gpu="A100-80GB-SXM", **choices)

"""Each way to fine-tune against the replay of the real step, with a vocabulary so small that blocks are the peak."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, estimate, verify
from strategies import Finetuning, LoraVariant, Quantization, TrainedModules

TOLERANCE = 0.005
"""Largest relative error of the peak of each phase, either way."""

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 4,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
}
MODELS = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SHAPE},
    "tied": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SHAPE, "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **SHAPE},
}
CHECKPOINTED = {"checkpointing": "full"}
SHARDED = {"gpus": 2, "sharding": "full_shard"}
GPTQ = {"finetuning": "qlora", "quantization": "gptq-4bit"}

CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"finetuning": "lora", "lora_dropout": 0.1, **CHECKPOINTED}),
    ("llama", {"finetuning": "lora", "adapter_dtype": "weights", "lora_variant": "rslora"}),
    ("qwen2", {"finetuning": "lora", "lora_variant": "dora"}),
    ("llama", {"finetuning": "lora", "lora_variant": "dora", "lora_dropout": 0.1, **CHECKPOINTED}),
    ("llama", {"finetuning": "qlora", "quantization": "nf4-double", "lora_variant": "dora", **CHECKPOINTED}),
    ("tied", {"finetuning": "lora", "trained_modules": "head", "gradient_accumulation_steps": 2}),
    ("llama", {"finetuning": "lora", "trained_modules": "embeddings-and-head", **SHARDED}),
    ("llama", {"finetuning": "qlora", "quantization": "int8"}),
    ("qwen2", {"finetuning": "qlora", "quantization": "int8", **CHECKPOINTED}),
    ("llama", {"finetuning": "qlora", "quantization": "gptq-4bit", **CHECKPOINTED}),
    ("llama", {"finetuning": "qlora", "quantization": "gptq-4bit-triton", "precision": "fp16-mixed"}),
    ("qwen2", {"finetuning": "qlora", "quantization": "gptq-4bit-triton", "precision": "fp16-true", **CHECKPOINTED}),
    ("llama", {"finetuning": "qlora", "quantization": "awq-4bit", **CHECKPOINTED}),
    ("llama", {"finetuning": "freeze", "trained_blocks": 2, "gradient_accumulation_steps": 2}),
    ("tied", {"finetuning": "freeze", "trained_blocks": 1, "trained_modules": "head", **CHECKPOINTED}),
    ("llama", {"finetuning": "freeze", "trained_blocks": 2, **SHARDED}),
    ("qwen2", {"finetuning": "bitfit"}),
    ("qwen2", {"finetuning": "bitfit", **SHARDED, **CHECKPOINTED}),
]


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(MODELS[request.param]))
    return str(path)


@pytest.mark.parametrize(("model", "options"), CASES, indirect=["model"], ids=str)
def test_every_phase_equals_the_replay(model: str, options: dict[str, Any]) -> None:
    found = verify(model, gpu="A100-80GB-SXM", sequence_length=256, micro_batch_size=4, **options)
    errors = {name: phase.difference for name, phase in found.phases.items()}
    assert errors == pytest.approx(dict.fromkeys(errors, 0.0), abs=TOLERANCE)


def test_every_choice_has_a_case() -> None:
    said = {str(value) for _, options in CASES for value in options.values()} | {"none", "lora", "full", "nf4"}
    for choices in (Finetuning, Quantization, LoraVariant):
        assert {str(choice) for choice in choices} <= said


def allocated(**options: Any) -> int:
    return estimate("qwen2.5-0.5b", gpu="A100-80GB-SXM", sequence_length=512, **options).memory.allocated_bytes


def test_each_further_trained_block_takes_more_until_it_is_all() -> None:
    sizes = [allocated(finetuning="freeze", trained_blocks=n, precision="bf16-true") for n in (1, 2, 12, 24)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < allocated(finetuning="full", precision="bf16-true")


def test_autogptqs_kernel_keeps_no_dequantized_weight() -> None:
    """Without checkpointing GPTQModel keeps those of all 24 blocks, but for what a replaced peak hides."""
    kept, dropped = (
        allocated(finetuning="qlora", precision="fp16-true", quantization=quantization)
        for quantization in ("gptq-4bit", "gptq-4bit-triton")
    )
    hidden, of_keys, intermediate = 896, 128, 4864
    weights = 24 * (2 * hidden * (hidden + of_keys) + 3 * hidden * intermediate)
    assert kept - dropped == pytest.approx(2 * weights, rel=0.005)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("llama-2-7b", {"finetuning": "bitfit"}, "the model has none"),
        ("llama-2-7b", {"finetuning": "freeze", "trained_blocks": 33}, "32 blocks"),
        ("mixtral-8x7b", {"finetuning": "lora", "lora_variant": "dora"}, "no DoRA for the parameters of experts"),
        ("mixtral-8x7b", {"finetuning": "lora", "lora_dropout": 0.1}, "no LoRA dropout for the parameters of experts"),
        ("gpt2", {"finetuning": "lora", "trained_modules": "head", **SHARDED}, "tied weight"),
        ("gpt2", {"finetuning": "qlora", "quantization": "int8", **SHARDED}, "INT8 weights cannot be sharded"),
        ("gpt2", {"finetuning": "qlora", "quantization": "awq-4bit", "lora_variant": "dora"}, "no DoRA over AWQ"),
        ("gpt2", {"finetuning": "lora", "adapter_dtype": "weights", "precision": "fp16-mixed"}, "adapters in fp16"),
        ("gpt2", {"finetuning": "lora", "trained_modules": "head", "precision": "fp16-mixed"}, "modules in fp16"),
        ("gpt2", {"finetuning": "full", "lora_variant": "dora"}, "only lora and qlora have it"),
        ("qwen2.5-0.5b", {**GPTQ, "checkpointing": "selective-matmuls"}, "add their bias to"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused_with_the_reason(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ContradictionError, match=message):
        estimate(name, gpu="A100-80GB-SXM", sequence_length=512, **options)


def test_trained_modules_say_which_ends_they_are() -> None:
    assert {(m.embeddings, m.head) for m in TrainedModules} == {(a, b) for a in (False, True) for b in (False, True)}


def test_zero_1_takes_parameters_of_one_dtype() -> None:
    choices = {"gpu": "A100-80GB-SXM", "gpus": 2, "finetuning": "lora", "trained_modules": "head", "sharding": "zero1"}
    with pytest.raises(ContradictionError, match="one dtype: adapters are fp32"):
        estimate("olmo-2-1b", **choices)
    assert estimate("olmo-2-1b", **choices, adapter_dtype="weights").memory.allocated_bytes

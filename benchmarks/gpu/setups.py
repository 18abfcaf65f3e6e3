"""Defines the models and options that are measured, and makes cases of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gpu.case import Case, Kind

Fields = Mapping[str, Any]


def _llama(hidden: int, layers: int, heads: int, kv_heads: int, feed_forward: int, vocabulary: int) -> Fields:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
    }


MODELS: Final[Mapping[str, Fields]] = {
    "llama-0.1b": _llama(768, 12, 12, 12, 2048, 32000),
    "llama-1b": {**_llama(2048, 16, 32, 8, 8192, 128256), "tie_word_embeddings": True},
    "llama-3b": {**_llama(3072, 28, 24, 8, 8192, 128256), "tie_word_embeddings": True},
    "llama-8b": _llama(4096, 32, 32, 8, 14336, 128256),
    "qwen-0.5b": {
        **_llama(896, 24, 14, 2, 4864, 151936),
        "model_type": "qwen2",
        "tie_word_embeddings": True,
    },
    "qwen3-1.7b": {**_llama(2048, 28, 16, 8, 6144, 151936), "model_type": "qwen3", "head_dim": 128},
    "gemma-2b": {**_llama(2048, 18, 8, 1, 16384, 256000), "model_type": "gemma", "head_dim": 256},
    "gpt2-0.8b": {
        "model_type": "gpt2",
        "n_embd": 1280,
        "n_layer": 36,
        "n_head": 20,
        "vocab_size": 50257,
        "n_positions": 1024,
    },
    "olmoe-1b-7b": {
        **_llama(2048, 16, 16, 16, 1024, 50304),
        "model_type": "olmoe",
        "num_experts": 64,
        "num_experts_per_tok": 8,
    },
    "mixtral-2b": {
        **_llama(1024, 16, 16, 8, 3584, 32000),
        "model_type": "mixtral",
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
}
"""Configurations in the shapes of models that people train (planner/models/registry); nothing is downloaded."""

TINY: Final[Mapping[str, Fields]] = {
    "tiny-llama": _llama(64, 2, 4, 2, 128, 300),
    "tiny-gpt2": {
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "vocab_size": 300,
        "n_positions": 128,
    },
}

FULL = {"finetuning": "full"}
LORA = {"finetuning": "lora", "lora_rank": 16, "lora_targets": "all-linear"}
QV = {"finetuning": "lora", "lora_rank": 8, "lora_targets": "q_proj,v_proj"}
QLORA = {**LORA, "finetuning": "qlora", "quantization": "nf4", "precision": "bf16-mixed"}
MIXED, TRUE = {"precision": "bf16-mixed"}, {"precision": "bf16-true"}
CHECKPOINTED = {"checkpointing": "full"}
EXPANDABLE = {"allocator": "expandable"}


def step_case(kind: Kind, model: str, options: Mapping[str, Any], size: int, length: int, **more: Any) -> Case:
    """Returns a case that runs training steps of a model.

    Args:
        kind: What is measured.
        model: Name in `MODELS` or `TINY`.
        options: Options of the strategy.
        size: Sequences per micro-batch; 0 if the limit of the GPU decides.
        length: Tokens per sequence.
        more: Further fields of the request; `seconds` is the expected time.
    """
    told = ("gradient_accumulation_steps", "evaluation_batch_size", "gib", "side")
    extra = [str(more[name]) for name in told if name in more]
    name = " ".join([model, *map(str, options.values()), f"{size} x {length}", *extra])
    seconds = more.pop("seconds", 8)
    request = {"model": {**MODELS, **TINY}[model], "options": dict(options), **more}
    return Case(kind, name, {**request, "micro_batch_size": size, "sequence_length": length}, seconds)

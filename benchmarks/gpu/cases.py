"""Lists what is measured, the most informative cases first: on a GPU, and with tiny models on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
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


def cases(device: str, kinds: frozenset[Kind]) -> list[Case]:
    """Returns all cases of the kinds, the most informative first, with the kinds taking turns."""
    of_gpu, of_cpu = (_rates, _memory, _edges, _steps), (_tiny_rates, _tiny_memory, _tiny_edges, _tiny_steps)
    makers = of_gpu if device == "cuda" else of_cpu
    found = [[case for case in make() if case.kind in kinds] for make in makers]
    return [case for row in zip_longest(*found) for case in row if case is not None]


def _case(kind: Kind, model: str, options: Mapping[str, Any], size: int, length: int, **more: Any) -> Case:
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


# --- on a GPU ---


def _memory() -> Iterator[Case]:
    def memory(model: str, options: Mapping[str, Any], size: int = 4, length: int = 1024, **more: Any) -> Case:
        return _case(Kind.MEMORY, model, options, size, length, **more)

    yield memory("llama-1b", {**FULL, **TRUE})
    yield memory("llama-1b", {**LORA, **MIXED})
    yield memory("llama-8b", {**LORA, **MIXED, **CHECKPOINTED, **EXPANDABLE}, length=2048, seconds=15)
    yield memory("qwen-0.5b", {**FULL, **MIXED})
    yield memory("gpt2-0.8b", {**FULL, **TRUE})
    yield memory("llama-1b", {**FULL, **MIXED, **CHECKPOINTED, **EXPANDABLE}, gradient_accumulation_steps=4)
    yield memory("gemma-2b", {**LORA, **TRUE})
    yield memory("olmoe-1b-7b", {**LORA, **TRUE}, 2, seconds=15)
    yield memory("llama-1b", {**FULL, **TRUE, "attention": "eager"})
    yield memory("llama-1b", {**FULL, **TRUE, "optimizer": "adamw-foreach"})
    yield memory("llama-1b", {**FULL, **TRUE, "optimizer": "adafactor"})
    yield memory("llama-1b", {**FULL, "precision": "fp32"}, 2)
    yield memory("llama-1b", {**FULL, "precision": "tf32"}, 2)
    yield memory("llama-1b", {**FULL, "precision": "fp16-mixed"})
    yield memory("llama-1b", {**FULL, **MIXED, "loss": "chunked"})
    yield memory("llama-1b", {**FULL, **TRUE, "kernels": "compile"}, seconds=40)
    yield memory("llama-8b", {**FULL, **TRUE, **CHECKPOINTED, "optimizer": "sgd"}, 2, 2048, seconds=15)
    yield memory("qwen3-1.7b", {**FULL, **TRUE, **CHECKPOINTED})
    yield memory("mixtral-2b", {**FULL, **TRUE})
    yield memory("llama-1b", {**FULL, **TRUE, "update": "in-backward"})
    yield memory("llama-1b", {**FULL, **TRUE, "checkpointing": "selective-matmuls"})
    yield memory("llama-1b", {**FULL, **TRUE, "checkpointing": "full", "checkpoint_every": 2})
    yield memory("llama-1b", {**FULL, **TRUE, "checkpointing": "offload"})
    yield memory("llama-1b", {**FULL, **TRUE, "attention": "sdpa-efficient"})
    yield memory("llama-1b", {**FULL, **TRUE, "optimizer": "muon"})
    yield memory("llama-1b", {**FULL, **TRUE, "optimizer": "sgd-momentum"})
    yield memory("llama-1b", {**QV, **MIXED})
    yield memory("llama-1b", {**QV, **TRUE, "lora_dropout": 0.05})
    yield memory("llama-1b", {**LORA, **TRUE, "adapter_dtype": "weights"})
    yield memory("llama-1b", {**LORA, **TRUE, "lora_variant": "dora"})
    yield memory("llama-1b", {"finetuning": "freeze", "trained_blocks": 2, **TRUE})
    yield memory("llama-1b", {**FULL, **TRUE}, evaluation_batch_size=16)
    yield memory("llama-1b", {**FULL, **TRUE, **EXPANDABLE}, 1, 8192)
    yield memory("llama-1b", {**FULL, **TRUE}, 16, 512, gradient_accumulation_steps=4)
    yield memory("llama-0.1b", {**FULL, **MIXED}, 16)
    yield memory("llama-0.1b", {**FULL, "precision": "fp32"}, 8)
    yield memory("llama-3b", {**FULL, **TRUE, **CHECKPOINTED, "optimizer": "adafactor"}, 2, 2048)
    yield memory("llama-3b", {**LORA, **MIXED}, 2, 2048)
    yield memory("qwen-0.5b", {**LORA, **MIXED, "attention": "eager"})
    yield memory("gemma-2b", {**FULL, **TRUE, **CHECKPOINTED}, 2)
    yield memory("gpt2-0.8b", {**FULL, **MIXED, **CHECKPOINTED})
    yield memory("gpt2-0.8b", {**LORA, **MIXED})
    yield memory("qwen3-1.7b", {**LORA, **MIXED, **EXPANDABLE})
    yield memory("llama-1b", {**FULL, **TRUE, "precision": "fp8-mixed"})
    yield memory("llama-8b", QLORA, 1, 2048, seconds=30)
    yield memory("llama-1b", {**FULL, **TRUE, "optimizer": "adamw-8bit"})
    yield memory("llama-1b", {**FULL, **TRUE, "attention": "flash-attention-2"})
    yield memory("llama-1b", {**FULL, **TRUE, "loss": "liger-fused-linear"})
    yield memory("llama-1b", {**FULL, **TRUE, "loss": "liger-fused-linear", "kernels": "liger"})
    yield memory("llama-1b", {**QLORA, "quantization": "nf4-double", **CHECKPOINTED}, seconds=15)
    yield memory("llama-1b", {**QLORA, "quantization": "int8"}, seconds=15)


EDGES = (
    ("llama-1b", {**FULL, **TRUE}, 1024),
    ("llama-1b", {**LORA, **MIXED, **CHECKPOINTED}, 2048),
    ("gpt2-0.8b", {**FULL, **TRUE}, 1024),
    ("qwen-0.5b", {**FULL, **MIXED, **CHECKPOINTED}, 1024),
)


def _edges() -> Iterator[Case]:
    """Yields both sides of the limit of four set-ups, on GPUs of four sizes, with the allocators taking turns."""
    sizes = (16, 24, 40, 80)
    for turn in range(4):
        for place, (model, options, length) in enumerate(EDGES):
            allocator = ("native", "expandable")[(turn + place) % 2]
            gib = sizes[(turn + place) % 4]
            if gib == 80 and turn < 2:
                gib = 40  # the largest size takes longest, so it comes last
            for side in ("possible", "impossible"):
                chosen = {**options, "allocator": allocator}
                more = {"gib": gib, "side": side, "gpu": "H100-80GB-SXM", "seconds": 12}
                yield _case(Kind.EDGES, model, chosen, 0, length, **more)


def _steps() -> Iterator[Case]:
    def steps(model: str, options: Mapping[str, Any], size: int, length: int, **more: Any) -> Case:
        return _case(Kind.STEPS, model, options, size, length, **{"seconds": 10, **more})

    yield steps("llama-1b", {**FULL, **TRUE}, 4, 2048, kernels=True)
    yield steps("llama-1b", {**FULL, **MIXED}, 4, 2048, kernels=True)
    yield steps("llama-1b", {**LORA, **MIXED}, 4, 2048, kernels=True)
    yield steps("llama-1b", {**FULL, **TRUE, **CHECKPOINTED}, 4, 2048)
    yield steps("llama-8b", {**LORA, **MIXED, **CHECKPOINTED}, 2, 2048, kernels=True)
    for size in (1, 2, 8, 16):
        yield steps("llama-1b", {**FULL, **TRUE}, size, 512)
    for length in (512, 1024, 4096, 8192):
        yield steps("llama-1b", {**FULL, **TRUE, **CHECKPOINTED}, 1, length)
    yield steps("llama-1b", {**FULL, **TRUE, "kernels": "compile"}, 4, 2048, seconds=40)
    yield steps("llama-1b", {**FULL, **TRUE, "attention": "eager"}, 4, 2048)
    yield steps("llama-1b", {**FULL, **TRUE, "optimizer": "adamw-foreach"}, 4, 2048)
    yield steps("llama-1b", {**FULL, **TRUE, "optimizer": "adafactor"}, 4, 2048)
    yield steps("llama-1b", {**FULL, **TRUE}, 2, 2048, gradient_accumulation_steps=4)
    yield steps("llama-1b", {**LORA, **TRUE}, 4, 2048)
    yield steps("llama-1b", {**QV, **MIXED}, 4, 2048)
    yield steps("llama-1b", {**FULL, "precision": "fp32"}, 1, 1024)
    yield steps("llama-1b", {**FULL, "precision": "tf32"}, 2, 1024)
    yield steps("llama-1b", {**FULL, "precision": "fp16-mixed"}, 4, 1024)
    yield steps("llama-0.1b", {**FULL, **MIXED}, 1, 512, kernels=True)
    yield steps("llama-0.1b", {**FULL, **MIXED}, 32, 512)
    yield steps("gpt2-0.8b", {**FULL, **MIXED}, 4, 1024)
    yield steps("qwen-0.5b", {**FULL, **MIXED}, 4, 1024)
    yield steps("gemma-2b", {**FULL, **TRUE, **CHECKPOINTED}, 2, 1024)
    yield steps("mixtral-2b", {**FULL, **TRUE}, 4, 1024)
    yield steps("llama-8b", {**FULL, **TRUE, **CHECKPOINTED, "optimizer": "sgd"}, 1, 2048, seconds=15)
    yield steps("llama-1b", {**FULL, **TRUE, "checkpointing": "offload"}, 4, 2048)


def _rates() -> Iterator[Case]:
    def rate(what: str, name: str, takes: float, **more: Any) -> Case:
        return Case(Kind.RATES, f"{what} {name}".strip(), {"what": what, **more}, takes)

    def products(dtype: str, name: str, shapes: list[list[int]], stretch: float) -> Case:
        more = {"dtype": dtype, "shapes": shapes, "seconds": stretch}
        return rate("products", f"{dtype} {name}", 4 * stretch * len(shapes), **more)

    blocks = [[8192, 4096, 4096], [8192, 4096, 14336], [8192, 14336, 4096], [4096, 2048, 8192], [4096, 8192, 2048]]
    small = [[512, 2048, 2048], [512, 2048, 8192], [1024, 4096, 4096], [2048, 1024, 4096], [256, 4096, 4096]]
    large = [[8192, 8192, 8192], [8192, 8192, 28672], [16384, 4096, 14336]]
    heads = [[4096, 2048, 128256], [4096, 4096, 32000]]
    adapters = [[8192, 4096, 16], [8192, 16, 4096], [8192, 4096, 64]]
    yield rate("process", "", 5)
    yield products("bf16", "of blocks", blocks, 0.25)
    yield rate("memory-bound", "", 6, sizes=[2**20, 2**23, 2**26, 2**29], seconds=0.1)
    yield rate("launches", "", 4, number=500, seconds=0.5)
    for kernel in ("flash", "cudnn", "efficient"):
        for width, length in ((128, 2048), (64, 1024), (128, 8192)):
            shape = [max(1, 8192 // length), 32, length, width]
            more = {"kernel": kernel, "shape": shape, "seconds": 0.3}
            yield rate("attention", f"{kernel} {length} x {width}", 3, **more)
    yield products("bf16", "of small batches", small, 0.1)
    yield products("bf16", "of heads", heads, 0.25)
    yield products("bf16", "of adapters", adapters, 0.1)
    yield products("bf16", "of large blocks", large, 0.4)
    yield products("tf32", "of blocks", blocks[:2], 0.25)
    yield products("fp16", "of blocks", blocks[:2], 0.25)
    yield products("fp32", "of blocks", blocks[:1], 0.25)
    yield products("fp8", "of blocks", blocks[:3], 0.25)
    yield rate("copies", "", 5, bytes=2**28, seconds=0.3)
    yield rate(
        "attention", "grouped flash 2048 x 128", 3, kernel="flash", shape=[4, 32, 2048, 128], kv_heads=8, seconds=0.3
    )
    yield rate("attention", "math 1024 x 64", 3, kernel="math", shape=[4, 16, 1024, 64], seconds=0.2)


# --- with tiny models, on a CPU ---


def _tiny_memory() -> Iterator[Case]:
    for model, options in (("tiny-llama", {**FULL, "precision": "fp32"}), ("tiny-gpt2", {**FULL, **TRUE})):
        yield _case(Kind.MEMORY, model, options, 2, 32, seconds=30)
    yield _case(Kind.MEMORY, "tiny-llama", {**LORA, **TRUE, **CHECKPOINTED}, 2, 32, seconds=30)
    yield _case(Kind.MEMORY, "tiny-llama", {**FULL, **TRUE, "attention": "flash-attention-2"}, 2, 32, seconds=30)


def _tiny_edges() -> Iterator[Case]:
    for side in ("possible", "impossible"):
        more = {"gib": 1, "side": side, "gpu": "H100-80GB-SXM", "seconds": 30}
        yield _case(Kind.EDGES, "tiny-llama", {**FULL, "precision": "fp32"}, 0, 128, **more)


def _tiny_steps() -> Iterator[Case]:
    yield _case(Kind.STEPS, "tiny-llama", {**FULL, "precision": "fp32"}, 2, 32, kernels=True, seconds=30)
    yield _case(Kind.STEPS, "tiny-gpt2", {**FULL, "precision": "fp32"}, 1, 32, seconds=30)


def _tiny_rates() -> Iterator[Case]:
    requests: tuple[dict[str, Any], ...] = (
        {"what": "products", "dtype": "fp32", "shapes": [[64, 64, 64]], "seconds": 0.02},
        {"what": "attention", "kernel": "math", "shape": [1, 2, 32, 16], "seconds": 0.02},
        {"what": "memory-bound", "sizes": [2**14], "seconds": 0.02},
        {"what": "launches", "number": 50, "seconds": 0.02},
        {"what": "copies", "bytes": 2**16, "seconds": 0.02},
        {"what": "process"},
    )
    for request in requests:
        yield Case(Kind.RATES, request["what"], request, 20)

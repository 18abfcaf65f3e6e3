"""Lists what is measured on a GPU, the most informative cases first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from gpu.case import Case, Kind
from gpu.setups import CHECKPOINTED, EXPANDABLE, FULL, LORA, MIXED, QLORA, QV, TRUE, step_case
from gpu.tiny_cases import tiny_edges, tiny_memory, tiny_rates, tiny_steps


def cases(device: str, kinds: frozenset[Kind]) -> list[Case]:
    """Returns all cases of the kinds, the most informative first, with the kinds taking turns."""
    of_gpu, of_cpu = (_rates, _memory, _edges, _steps), (tiny_rates, tiny_memory, tiny_edges, tiny_steps)
    makers = of_gpu if device == "cuda" else of_cpu
    found = [[case for case in make() if case.kind in kinds] for make in makers]
    return [case for row in zip_longest(*found) for case in row if case is not None]


def _memory() -> Iterator[Case]:
    def memory(model: str, options: Mapping[str, Any], size: int = 4, length: int = 1024, **more: Any) -> Case:
        return step_case(Kind.MEMORY, model, options, size, length, **more)

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
                yield step_case(Kind.EDGES, model, chosen, 0, length, **more)


def _steps() -> Iterator[Case]:
    def steps(model: str, options: Mapping[str, Any], size: int, length: int, **more: Any) -> Case:
        return step_case(Kind.STEPS, model, options, size, length, **{"seconds": 10, **more})

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

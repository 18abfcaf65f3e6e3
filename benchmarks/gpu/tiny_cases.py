"""Lists what is measured with tiny models on a CPU: that everything runs, before a GPU is rented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpu.case import Case, Kind
from gpu.setups import CHECKPOINTED, FULL, LORA, TRUE, step_case


def tiny_memory() -> Iterator[Case]:
    for model, options in (("tiny-llama", {**FULL, "precision": "fp32"}), ("tiny-gpt2", {**FULL, **TRUE})):
        yield step_case(Kind.MEMORY, model, options, 2, 32, seconds=30)
    yield step_case(Kind.MEMORY, "tiny-llama", {**LORA, **TRUE, **CHECKPOINTED}, 2, 32, seconds=30)
    yield step_case(Kind.MEMORY, "tiny-llama", {**FULL, **TRUE, "attention": "flash-attention-2"}, 2, 32, seconds=30)


def tiny_edges() -> Iterator[Case]:
    for side in ("possible", "impossible"):
        more = {"gib": 1, "side": side, "gpu": "H100-80GB-SXM", "seconds": 30}
        yield step_case(Kind.EDGES, "tiny-llama", {**FULL, "precision": "fp32"}, 0, 128, **more)


def tiny_steps() -> Iterator[Case]:
    yield step_case(Kind.STEPS, "tiny-llama", {**FULL, "precision": "fp32"}, 2, 32, kernels=True, seconds=30)
    yield step_case(Kind.STEPS, "tiny-gpt2", {**FULL, "precision": "fp32"}, 1, 32, seconds=30)


def tiny_rates() -> Iterator[Case]:
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

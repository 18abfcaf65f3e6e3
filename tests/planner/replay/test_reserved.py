"""The allocator reserves for requests from the memory model what it reserves for those of a replay."""

from __future__ import annotations

from typing import Any

import pytest

from planner.allocator.kinds import KINDS
from planner.memory.reserved import processes_of, reserved
from planner.problem.resolve import resolve_one
from planner.replay.recording.serve import serve
from planner.verification.replayed import replayed, step_of
from strategies import Allocator

TOLERANCE = 0.01
"""Largest relative difference of reserved bytes. The order of loading, and of a few small tensors, differs."""

FSDP1 = {"gpus": 8, "sharding_backend": "fsdp1", "checkpointing": "full"}

CASES: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("qwen2.5-0.5b", {"precision": "bf16-true", "finetuning": "lora"}, 4, 1),
    ("qwen2.5-0.5b", {"precision": "bf16-mixed", "checkpointing": "full"}, 8, 2),
    ("gpt2-medium", {"precision": "fp32"}, 4, 1),
    ("gpt2-medium", {"precision": "fp32", "outputs": "kept"}, 4, 1),
    ("qwen2.5-0.5b", {"precision": "bf16-true", "finetuning": "lora", "outputs": "kept"}, 8, 1),
    ("qwen2.5-0.5b", {"precision": "bf16-mixed", "checkpointing": "full", "outputs": "kept-in-step"}, 8, 2),
    ("smollm2-360m", {"precision": "bf16-mixed", "gpus": 8, "sharding": "full_shard", "checkpointing": "full"}, 8, 2),
    ("smollm2-360m", {"precision": "bf16-mixed", "gpus": 8, "sharding_backend": "fsdp1"}, 6, 1),
    # states of the first rank's tensors, not of a share of every one, decide whether activations spill into logits
    ("smollm2-360m", {"precision": "bf16-mixed", "gpus": 8, "sharding_backend": "fsdp1"}, 8, 1),
    # so small that most of it is left from wrapping the units
    ("smollm2-360m", {"precision": "bf16-true", "finetuning": "lora", **FSDP1}, 1, 1),
    # the sum of a tied weight's two gradients stays, and a flat gradient finds no block where they were
    ("smollm2-360m", {"precision": "bf16-mixed", **FSDP1}, 1, 1),
    # shards of gradients are on the stream that sums them over replicas
    ("smollm2-135m", {"precision": "bf16-mixed", **FSDP1, "sharding": "hybrid_shard", "shard_size": 4}, 1, 1),
)


@pytest.mark.parametrize(
    ("model", "choices", "size", "steps"),
    CASES,
    ids=lambda x: str(x) if isinstance(x, str) else "",
)
def test_reserved_bytes_are_those_of_the_replay(model: str, choices: dict[str, Any], size: int, steps: int) -> None:
    axes = {axis: choice for axis, choice in choices.items() if axis not in ("gpus", "outputs")}
    outputs = choices.get("outputs", "released")
    workload = {
        "gpus": choices.get("gpus", 1),
        "nodes": 1,
        "outputs": outputs,
        "sequence_length": 512,
        "headroom": 0.05,
    }
    problem, solver, candidate = resolve_one(model, "A100-80GB-SXM", None, axes, workload, size, steps)
    (process,) = processes_of(solver.model, candidate.strategy, size, steps)
    requests = process.requests()
    trace = replayed(step_of(problem, candidate, lambda _: None), lambda _: None)
    for allocator in Allocator:
        expected = serve(trace, KINDS[allocator]()).reserved_bytes
        assert reserved(requests, allocator).reserved_bytes == pytest.approx(expected, rel=TOLERANCE), allocator

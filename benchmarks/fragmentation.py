"""Measures how much more than the allocated bytes the caching allocator needs, by serving replays within limits.

    python benchmarks/fragmentation.py            # all cases, about an hour
    python benchmarks/fragmentation.py gpt2       # of one model

For each case it prints the allocated bytes, how many of them come and go within a step, and the smallest limit within
which each kind of allocator serves the whole trace. The memory model's allowance (`Slack.of`) covers that of the
expandable one.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from typing import Any

from planner.allocator.expandable import ExpandableAllocator
from planner.allocator.native import MIB, CachingAllocator
from planner.memory.step.process import EXPANDABLE_BYTES, EXPANDABLE_PER_MILLE
from planner.problem.resolve import resolve_one
from planner.replay.recording.serve import serve
from planner.verification.replayed import replayed, step_of

MODELS = (
    *("llama-2-7b", "smollm2-1.7b", "pythia-70m", "gpt2-medium", "qwen2.5-1.5b"),
    *("gemma-2b", "phi-3-mini", "opt-1.3b", "llama-3-8b", "qwen3-4b"),
)
TECHNIQUES: tuple[dict[str, Any], ...] = (
    {"precision": "bf16-mixed", "finetuning": "lora", "checkpointing": "full"},
    {"precision": "bf16-mixed", "finetuning": "qlora", "checkpointing": "full"},
    {"precision": "bf16-true", "finetuning": "lora"},
    {"precision": "bf16-true", "optimizer": "adafactor"},
    {"precision": "bf16-true", "optimizer": "adafactor", "checkpointing": "full"},
    {"precision": "bf16-mixed", "checkpointing": "full"},
    {"precision": "bf16-mixed", "attention": "eager"},
    {"precision": "fp32", "optimizer": "adamw-foreach", "checkpointing": "full"},
    {"precision": "bf16-mixed", "gpus": 8, "sharding": "shard_grad_op"},
    {"precision": "bf16-mixed", "gpus": 8, "sharding": "full_shard", "checkpointing": "full"},
)
SIZES = ((1, 1, 1024), (10, 3, 1024))
"""Micro-batch, accumulation steps and tokens per sequence of each case."""

PRECISE = 4 * MIB
"""Bytes to which the smallest limit is found."""


def measured(model: str, choices: dict[str, Any], size: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Returns the allocated bytes, those that come and go, and the smallest limits of both allocators.

    The limit of the expandable allocator comes first, then that of the native one.
    """
    micro_batch_size, steps, length = size
    axes = {axis: choice for axis, choice in choices.items() if axis != "gpus"}
    workload = {"gpus": choices.get("gpus", 1), "nodes": 1, "sequence_length": length, "headroom": 0.05}
    problem, _, candidate = resolve_one(model, "A100-80GB-SXM", None, axes, workload, micro_batch_size, steps)
    trace = replayed(step_of(problem, candidate, lambda _: None), lambda _: None)
    limits = []
    for kind in (ExpandableAllocator, CachingAllocator):
        free = serve(trace, kind())
        low, high = free.allocated_bytes * 9 // 10, free.reserved_bytes
        while high - low > PRECISE:
            middle = (low + high) // 2
            low, high = (low, middle) if serve(trace, kind(middle)).fits else (middle, high)
        limits.append(high)
    varying = free.allocated_bytes - candidate.footprint.slack.persistent_bytes
    return free.allocated_bytes, varying, *limits


def cases(models: list[str]) -> Iterator[tuple[str, dict[str, Any], tuple[int, int, int]]]:
    return ((model, choices, size) for model in models for choices in TECHNIQUES for size in SIZES)


def main(models: list[str]) -> None:
    used, shares = [], []
    for model, choices, size in cases(models):
        allocated, varying, expandable, native = measured(model, choices, size)
        allowed = EXPANDABLE_BYTES + varying * EXPANDABLE_PER_MILLE // 1000
        used.append((expandable - allocated) / allowed)
        shares.append((expandable - allocated) / allocated)
        print(
            f"{model} {' '.join(map(str, choices.values()))} {size[0]} x {size[1]} x {size[2]}: "
            f"{allocated / MIB:.0f} MiB allocated, {varying / MIB:.0f} come and go; expandable needs "
            f"{(expandable - allocated) / MIB:+.0f}, native {(native - allocated) / MIB:+.0f}",
            flush=True,
        )
    print(f"\n{len(used)} cases; expandable segments need {statistics.median(shares):.1%} more in the median, and")
    print(f"at most {max(used):.0%} of what the memory model allows for them")


if __name__ == "__main__":
    main(sys.argv[1:] or MODELS)

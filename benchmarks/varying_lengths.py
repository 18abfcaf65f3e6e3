"""Measures what sequences of varying lengths make the caching allocator reserve, by the memory model and by replays.

    python benchmarks/varying_lengths.py            # all cases, about five minutes
    python benchmarks/varying_lengths.py gpt2       # of one model

Each step has a length of its own, drawn between an eighth of the longest and the longest, which comes once, somewhere.
For each case, and each kind of allocator, it prints what steps of the longest length alone allocate, and in shares of
that what is reserved where there is room, and the smallest limit within which all requests are served: with the longest
length alone, and with lengths that vary; each by the model's requests and by replays.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from hardware import MIB
from planner.memory.requests.process import Process
from planner.memory.requests.requests import Requests
from planner.memory.reserved import processes_of, reserved
from planner.problem.resolve import resolve_one
from planner.replay.recording.trace import Trace
from planner.verification.replayed import replayed, step_of
from strategies import Allocator

CASES: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("gpt2-medium", {"precision": "fp32"}, 4, 1024),
    ("qwen2.5-0.5b", {"precision": "bf16-true", "finetuning": "lora"}, 8, 1024),
    ("llama-3.2-1b", {"precision": "bf16-mixed", "finetuning": "lora", "checkpointing": "full"}, 8, 2048),
    ("llama-3.2-1b", {"precision": "bf16-mixed"}, 4, 2048),
)
"""Model, choices, micro-batch and longest length."""

STEPS = 8
"""Steps with a length each."""

PRECISE = 16 * MIB
"""Bytes to which the smallest limit is found."""


SEEDS = 2
"""Draws of lengths for each case."""


def lengths(longest: int, seed: int) -> list[int]:
    """Returns the length of each step."""
    chance = random.Random(seed)
    drawn = [chance.randrange(longest // 8, longest + 1) for _ in range(STEPS)]
    drawn[chance.randrange(STEPS)] = longest
    return drawn


def asked(model: str, choices: dict[str, Any], size: int, length: int) -> Any:
    """Returns a problem, its solver and the candidate with one length."""
    workload = {"gpus": 1, "nodes": 1, "sequence_length": length, "headroom": 0.05}
    return resolve_one(model, "H200", None, choices, workload, size, 1)


def process(model: str, choices: dict[str, Any], size: int, length: int) -> Process:
    """Returns a process whose steps have one length."""
    _, solver, candidate = asked(model, choices, size, length)
    (found,) = processes_of(solver.model, candidate.strategy, size, 1)
    return found


def requests_of(longest: Process, each: Sequence[Process]) -> Requests:
    """Returns the requests of a process that loads the model and runs steps of several lengths."""
    requests = Requests()
    for _ in longest.run(requests, [one.steps for one in each]):
        pass
    return requests


def trace_of(model: str, choices: dict[str, Any], size: int, length: int) -> Trace:
    """Returns the replay of two steps of one length."""
    problem, _, candidate = asked(model, choices, size, length)
    return replayed(step_of(problem, candidate, lambda _: None), lambda _: None)


def joined(each: Sequence[Trace]) -> Requests:
    """Returns the requests of loading and the first step of the first replay, and of the last step of all others.

    What a last step frees of the time before it, such as a batch, is left out; what it leaves goes at its end.
    """
    requests = Requests()
    for place, trace in enumerate(each):
        numbers: dict[int, int] = {}
        for section in trace.sections:
            if (section.step < trace.last_step) is (place > 0):
                continue
            for storage, num_bytes, _ in section.events:
                if num_bytes > 0:
                    numbers[storage] = requests.allocate(num_bytes)
                elif num_bytes == 0:
                    requests.made.append((0, 0))
                elif storage in numbers:
                    requests.release(numbers.pop(storage))
            if not section.step:
                requests.loaded = len(requests.made)
        for storage in numbers.values() if place else ():
            requests.release(storage)
    return requests


def smallest_limit(requests: Requests, allocator: Allocator) -> int:
    """Returns the smallest limit within which all requests are served."""
    roomy = reserved(requests, allocator)
    low, high = roomy.allocated_bytes - 1, roomy.reserved_bytes
    while high - low > PRECISE:
        middle = (low + high) // 2
        low, high = (low, middle) if reserved(requests, allocator, middle).fits else (middle, high)
    return high


def shares(requests: Requests, allocator: Allocator, allocated_bytes: int) -> str:
    """Returns what is reserved where there is room, and the smallest limit, as shares of allocated bytes."""
    roomy = reserved(requests, allocator).reserved_bytes
    return f"{roomy / allocated_bytes:.2f}, {smallest_limit(requests, allocator) / allocated_bytes:.3f}"


def main(models: list[str]) -> None:
    for model, choices, size, longest in CASES:
        if models and model not in models:
            continue
        ask = partial(process, model, choices, size)
        trace = lru_cache(maxsize=None)(partial(trace_of, model, choices, size))
        alone = requests_of(ask(longest), [ask(longest)] * 2)
        allocated = reserved(alone, Allocator.NATIVE).allocated_bytes
        print(f"{model} {' '.join(map(str, choices.values()))} {size} x {longest}: {allocated / MIB:.0f} MiB allocated")
        for seed in (None, *range(SEEDS)):
            drawn = [longest, longest] if seed is None else lengths(longest, seed)
            by_model = requests_of(ask(longest), [ask(length) for length in drawn])
            by_replays = joined([trace(length) for length in drawn])
            for allocator in Allocator:
                found = [shares(requests, allocator, allocated) for requests in (by_model, by_replays)]
                print(
                    f"  {'one length' if seed is None else f'drawn lengths {seed}':16} {allocator:10} with room and "
                    f"smallest limit: {found[0]} by the model, {found[1]} by replays",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])

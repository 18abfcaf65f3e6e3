"""What is served at once is served as by the allocator's model, also where it is known to repeat what was served."""

from __future__ import annotations

import random
from typing import Any

import pytest

import planner.memory.reserved as reserving
from planner.allocator.native import MIB, CachingAllocator, OutOfMemoryError
from planner.memory.requests.at_once import ServedAtOnce
from planner.memory.requests.heap import SMALL_END, Entry, Heap
from planner.memory.requests.process import Process
from planner.memory.reserved import Served, processes_of, reserved, reserved_by
from planner.problem.resolve import resolve_one
from planner.search import Candidate, Solver
from strategies import Allocator

LORA = {"finetuning": "lora", "precision": "bf16-mixed", "allocator": "native"}


def asked(choices: dict[str, Any], steps: int) -> tuple[Solver, Candidate]:
    workload = {"gpus": 1, "nodes": 1, "sequence_length": 512, "headroom": 0.05}
    _, solver, candidate = resolve_one("smollm2-135m", "A100-80GB-SXM", None, choices, workload, 4, steps)
    return solver, candidate


def process(choices: dict[str, Any], steps: int) -> Process:
    solver, candidate = asked(choices, steps)
    (made,) = processes_of(solver.model, candidate.strategy, 4, steps)
    return made


def asked_of_the_large_pool(monkeypatch: pytest.MonkeyPatch, made: Process, *, repeats: bool) -> int:
    """Returns how many requests the large pool serves."""
    served, serve = [], Heap.serve

    def counted(self: Heap, entries: tuple[Entry, ...], *beside: Any) -> None:
        served.append(sum(place >= SMALL_END for _, place, _, _ in entries))
        serve(self, entries, *beside)

    with monkeypatch.context() as patched:
        patched.setattr(Heap, "serve", counted)
        at_once = ServedAtOnce(None, repeats=repeats)
        assert at_once.serves(made.run(at_once))
    return sum(served)


@pytest.mark.parametrize("checkpointing", ["none", "full"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_what_repeats_is_served_as_before_at_every_limit(checkpointing: str, steps: int) -> None:
    choices = LORA | {"checkpointing": checkpointing}
    made = process(choices, steps)
    requests = made.requests()
    roomy = reserved(requests, Allocator.NATIVE)
    assert reserved_by(made, Allocator.NATIVE, None) == roomy
    for less in range(0, 40, 2):
        limit = roomy.reserved_bytes - less * MIB
        assert reserved_by(made, Allocator.NATIVE, limit) == reserved(requests, Allocator.NATIVE, limit)


def test_the_large_pool_is_not_asked_for_what_it_served_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made = process(LORA, 2)
    repeated = asked_of_the_large_pool(monkeypatch, made, repeats=True)
    assert repeated < 0.6 * asked_of_the_large_pool(monkeypatch, made, repeats=False)


def test_large_gradients_are_served_in_each_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made = process({"precision": "bf16-mixed", "allocator": "native"}, 2)
    counts = [asked_of_the_large_pool(monkeypatch, made, repeats=repeats) for repeats in (True, False)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("limit", [None, 50 * MIB, 60 * MIB, 90 * MIB])
def test_what_is_borrowed_leaves_what_the_allocator_leaves(limit: int | None) -> None:
    for seed in range(60):
        drawn = random.Random(seed)
        sizes = [drawn.randrange(1, most) for most in (MIB, 40 * MIB) for _ in range(6)] * 2
        drawn.shuffle(sizes)
        allocator, at_once = CachingAllocator(limit), ServedAtOnce(limit)
        for number, size in enumerate((MIB, 3 * MIB, 7 * MIB), start=100):
            at_once.allocate(size)
            allocator.run([(number, size)])
        try:
            for number, size in enumerate(sizes, start=1):
                allocator.run([(number, size), (number, -size)])
        except OutOfMemoryError:
            with pytest.raises(OutOfMemoryError):
                at_once.borrow(sizes)
        else:
            at_once.borrow(sizes)
        assert at_once.peaks == (allocator.peak_allocated, allocator.peak_reserved)
        assert at_once.retries == allocator.retries


def test_what_is_borrowed_again_is_served_anew_if_its_segment_has_been_returned() -> None:
    at_once = ServedAtOnce(41 * MIB)
    at_once.borrow([40 * MIB, 40 * MIB, MIB, 40 * MIB])
    assert at_once.retries == 2


def test_a_process_is_served_once(monkeypatch: pytest.MonkeyPatch) -> None:
    solver, candidate = asked(LORA, 8)
    calls: list[object] = []

    def counted(*given: Any) -> Any:
        calls.append(given)
        return reserved_by(*given)

    monkeypatch.setattr(reserving, "reserved_by", counted)
    found = [Served(solver.model).within(candidate.strategy, 4, steps, 60 * 1024 * MIB) for steps in (8, 16)]
    assert found[0] == found[1]
    assert len(calls) == 1
    assert Served(solver.model).within(candidate.strategy, 4, 1, 60 * 1024 * MIB) != found[0]
    assert len(calls) == 2

"""Steps whose sequences differ in length: what they make the caching allocator reserve, by the model's requests."""

from collections.abc import Sequence

import pytest

from planner.memory.requests.process import Process
from planner.memory.requests.requests import Requests
from planner.memory.reserved import processes_of, reserved
from planner.problem.resolve import resolve_one
from strategies import Allocator

DRAWN = (300, 900, 450, 700, 1024, 150, 820)
"""Tokens of each step's sequences."""
LONGEST = max(DRAWN)


def process(length: int) -> Process:
    axes = {"precision": "bf16-true", "finetuning": "lora"}
    workload = {"gpus": 1, "nodes": 1, "sequence_length": length, "headroom": 0.05}
    _, solver, candidate = resolve_one("qwen2.5-0.5b", "A100-80GB-SXM", None, axes, workload, 8, 1)
    (found,) = processes_of(solver.model, candidate.strategy, 8, 1)
    return found


def reserved_by_steps(lengths: Sequence[int], allocator: Allocator) -> int:
    requests = Requests()
    for _ in process(LONGEST).run(requests, [process(length).steps for length in lengths]):
        pass
    return reserved(requests, allocator).reserved_bytes


@pytest.fixture(scope="module")
def of_one_length() -> dict[Allocator, int]:
    return {allocator: reserved_by_steps((LONGEST, LONGEST), allocator) for allocator in Allocator}


def test_expandable_segments_reserve_for_drawn_lengths_what_the_longest_takes(
    of_one_length: dict[Allocator, int],
) -> None:
    found = reserved_by_steps(DRAWN, Allocator.EXPANDABLE)
    assert found == pytest.approx(of_one_length[Allocator.EXPANDABLE], rel=0.01)


def test_native_segments_of_one_length_fit_another_badly(of_one_length: dict[Allocator, int]) -> None:
    assert reserved_by_steps(DRAWN, Allocator.NATIVE) > 1.2 * of_one_length[Allocator.NATIVE]


def test_native_segments_reserve_no_more_where_the_longest_comes_first(of_one_length: dict[Allocator, int]) -> None:
    found = reserved_by_steps(sorted(DRAWN, reverse=True), Allocator.NATIVE)
    assert found == pytest.approx(of_one_length[Allocator.NATIVE], rel=0.01)

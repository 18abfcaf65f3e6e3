"""Predicted step times are as near to measured ones as the documents say."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations

from published import bench
from published.speed import Speed, ask
from published.step_times import timed

MEDIAN, WITHIN_A_QUARTER, ORDERED, IN_RANGE = 0.10, 0.90, 0.95, 0.80
ONE_GPU, FSDP = 0.15, 0.20


@cache
def speeds() -> list[Speed]:
    return [ask(run).speed() for run in timed()]


@cache
def trainer() -> list[Speed]:
    return [ask(run).speed() for run in bench.timed()]


def median(found: Sequence[Speed]) -> float:
    return statistics.median(abs(speed.error) for speed in found)


def share(found: Sequence[Speed], holds: Callable[[Speed], bool]) -> float:
    return sum(map(holds, found)) / len(found)


def test_step_times_are_near_what_was_measured() -> None:
    assert median(speeds()) <= MEDIAN
    assert share(speeds(), lambda speed: abs(speed.error) <= 0.25) >= WITHIN_A_QUARTER
    assert share(speeds(), lambda speed: speed.is_inside) >= IN_RANGE


def test_of_two_runs_the_faster_one_is_said_to_be_faster() -> None:
    right = []
    for a, b in combinations(speeds(), 2):
        slow, fast = sorted((a, b), key=lambda speed: speed.run.tokens_per_second)
        if a.run.source == b.run.source and fast.run.tokens_per_second > 1.05 * slow.run.tokens_per_second:
            right.append(fast.predicted > slow.predicted)
    assert sum(right) / len(right) >= ORDERED


def test_runs_of_hugging_faces_trainer_are_near_what_was_measured() -> None:
    assert median([speed for speed in trainer() if speed.run.source.endswith("one GPU")]) <= ONE_GPU
    assert median([speed for speed in trainer() if "FSDP1" in speed.run.source]) <= FSDP
    assert share(trainer(), lambda speed: speed.is_inside) >= IN_RANGE

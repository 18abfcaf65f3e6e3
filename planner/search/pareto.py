"""Finds the Pareto front of effective batch, speed and memory over all strategies, micro-batches and steps.

At the price of one machine, the cost of a token follows from the speed, so that it is no objective of its own here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from planner.search.candidate import Candidate
from planner.search.solver import ALIKE_FROM, Solver
from strategies import Chain, Exactly, Strategy, UpTo

MOST_STEPS = 4096
"""Most accumulation steps that are looked at one by one, where more of them make a sample slower."""


class Point(NamedTuple):
    """Holds the objectives of a candidate, in the order in which points sort: the larger batch first, then speed."""

    negative_batch: int
    seconds_per_sample: float
    process_bytes: int


def pareto(chains: Iterable[Chain], solver: Solver) -> list[Candidate]:
    """Returns the candidates that no other one beats in batch, speed and memory, those of the largest batch first.

    Of candidates with the same numbers, the best by the solver's order is returned. Candidates with more risks than
    necessary are no part of it.

    Args:
        chains: Strategies that can run; only the first of each is looked at, since no other one of it is better in
            anything.
        solver: Solves them.
    """
    strategies = [chain.least for chain in chains if solver.fits(chain.least)]
    fewest = min(map(solver.order.risks, strategies), default=0)
    chosen = (strategy for strategy in strategies if solver.order.risks(strategy) == fewest)
    return front_of(candidate for strategy in chosen for candidate in candidates_of(strategy, solver))


def front_of(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Returns the candidates that no other one beats, whatever their risks, those of the largest batch first."""
    found: dict[Point, Candidate] = {}
    for candidate in candidates:
        point = Point(-candidate.global_batch_size, candidate.seconds_per_sample, candidate.process_bytes)
        if point not in found or candidate.rank < found[point].rank:
            found[point] = candidate
    return [found[point] for point in undominated(found)]


def undominated(points: Iterable[Point]) -> Iterator[Point]:
    """Yields the points that no other one beats: is nowhere larger, and somewhere smaller.

    Points are taken by their batch, the largest first. What remains of those before is a staircase: the slower, the
    fewer bytes.
    """
    seconds: list[float] = []
    num_bytes: list[int] = []  # those of `seconds`, falling
    for point in sorted(set(points)):
        place = bisect_right(seconds, point.seconds_per_sample)
        if place and num_bytes[place - 1] <= point.process_bytes:
            continue
        yield point
        start = bisect_left(seconds, point.seconds_per_sample)
        end = start
        while end < len(seconds) and num_bytes[end] >= point.process_bytes:
            end += 1
        seconds[start:end], num_bytes[start:end] = [point.seconds_per_sample], [point.process_bytes]


def candidates_of(strategy: Strategy, solver: Solver) -> Iterator[Candidate]:
    """Yields the candidates of a strategy that fit within the limits and that none of its own beats for sure."""
    if isinstance(solver.accumulation, Exactly):
        yield from solver.within(strategy)
        return
    for steps in solver.steps_of(strategy):
        for size in solver.sizes(strategy, steps):
            candidate = solver.candidate(strategy, size, steps)
            if solver.exceeded(candidate) is None:
                yield candidate
            if steps > ALIKE_FROM and isinstance(solver.accumulation, UpTo):
                yield from _fewer_steps(candidate, solver)


def _fewer_steps(candidate: Candidate, solver: Solver) -> Iterator[Candidate]:
    """Yields the candidates of fewer steps and the same memory, where these are faster for each sample."""
    size, strategy = candidate.micro_batch_size, candidate.strategy
    if solver.candidate(strategy, size, ALIKE_FROM).seconds_per_sample < candidate.seconds_per_sample:
        for steps in range(ALIKE_FROM + 1, min(candidate.gradient_accumulation_steps, MOST_STEPS)):
            found = solver.candidate(strategy, size, steps)
            if solver.exceeded(found) is None:
                yield found

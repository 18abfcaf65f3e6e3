"""Computes what pictures of a plan show: each moment of its step, and memory and time over micro-batch and length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from planner.answers.memory import components_of
from planner.answers.times import time_of
from planner.memory import Moment
from planner.models import Model
from planner.problem.problem import Problem
from planner.records.plan import Components, Plan
from planner.search import Candidate, Solver

MOST_POINTS = 40
"""Most micro-batches of a curve; of a longer range, as many are taken at equal distances."""
BEYOND = 1.25
"""How far a curve goes beyond the largest micro-batch that fits, so that one sees it cross the budget."""
FEWEST_SAMPLES = 4
"""Micro-batches that a curve shows at least."""
SHORTEST = 128
"""Tokens of the shortest sequence of a curve, of a plan that has no shorter ones."""
LONGER = 4
"""How many times the plan's length the longest sequence of a curve has."""


class AtMoment(NamedTuple):
    """Holds the memory at the largest instant of a moment of a step."""

    name: str
    components: Components
    """Bytes of each category; with its overhead, what a process needs that does not go beyond this moment."""
    process_bytes: int
    is_peak: bool


class Point(NamedTuple):
    """Holds memory and time of a plan with one number changed."""

    at: int
    """That number: samples per micro-batch, or tokens per sequence."""
    process_bytes: int
    tokens_per_second: float
    slowest: float
    """Tokens per second of the longest step of the plan's range."""
    fastest: float
    step_seconds: float


class Curves(NamedTuple):
    """Holds what pictures of one plan show."""

    moments: tuple[AtMoment, ...]
    by_micro_batch: tuple[Point, ...]
    by_length: tuple[Point, ...]
    """Empty where the model is known at one length alone."""
    largest_micro_batch: int
    """Samples of the largest micro-batch that fits; 0 if none does."""


def curves(plan: Plan, problem: Problem, solver: Solver, candidate: Candidate) -> Curves:
    """Returns the curves of a plan.

    Args:
        plan: The plan.
        problem: What it was resolved to, as `resolve_one` returns it.
        solver: A solver with its budget.
        candidate: The plan's candidate.
    """
    largest = candidate.footprint.largest_micro_batch(plan.memory.budget_bytes)
    return Curves(
        tuple(_moments(plan, candidate)),
        tuple(_point(size, candidate, solver, size) for size in _sizes(candidate.micro_batch_size, largest)),
        tuple(_by_length(problem, candidate, solver)),
        largest,
    )


def _moments(plan: Plan, candidate: Candidate) -> Iterator[AtMoment]:
    """Yields the moments in the order of a step; the peak's bytes are those of the plan."""
    footprint, size = candidate.footprint, candidate.micro_batch_size
    for moment, lines in sorted(footprint.lines_at(size).items(), key=lambda item: list(Moment).index(item[0])):
        if moment.value == plan.memory.moment:
            yield AtMoment(moment.value, plan.memory.components, plan.memory.process_bytes, True)
            continue
        line = max(lines, key=lambda line: line.at(size))
        allocated = line.at(size) + footprint.persistent.total + footprint.outside.workspace_bytes
        process = footprint.process_bytes_of(allocated)
        parts = components_of(footprint, line, size, process)
        if moment is Moment.LOADING:
            parts = _nothing_but_parameters(parts)
        yield AtMoment(moment.value, parts, process, False)


def _nothing_but_parameters(parts: Components) -> Components:
    """Returns the same bytes while the model is loaded, when there is nothing but parameters."""
    fields: dict[str, Any] = dict.fromkeys(Components.model_fields, 0)
    tensors = sum(getattr(parts, name) for name in fields) - parts.overhead
    return Components.model_construct(**{**fields, "parameters": tensors, "overhead": parts.overhead})


def _sizes(chosen: int, largest: int) -> Sequence[int]:
    """Returns the micro-batches of a curve: from one sample to beyond the largest that fits, with the chosen one."""
    last = max(FEWEST_SAMPLES, chosen + 1, round(max(largest, chosen) * BEYOND))
    step = -(-last // MOST_POINTS)
    return sorted({1, chosen, max(1, largest), *range(step, last + 1, step)})


def _by_length(problem: Problem, candidate: Candidate, solver: Solver) -> Iterator[Point]:
    """Yields the plan at sequences of other lengths, with the same micro-batch."""
    own = problem.request.sequence_length
    if not isinstance(problem.model, Model) or problem.model.tokens_per_sample is not None:
        return
    most = problem.model.max_positions if problem.model.has_learned_positions else None
    for length in _lengths(own, most, problem.request.mean_length):
        other = Solver(problem.memory.at(length), solver.budget_bytes, solver.accumulation, solver.allowed)
        size, steps = candidate.micro_batch_size, candidate.gradient_accumulation_steps
        yield _point(length, other.candidate(candidate.strategy, size, steps), other, size)


def _lengths(own: int, most: int | None, least: int | None) -> Sequence[int]:
    """Returns lengths around the plan's own: powers of two and those halfway between, in tokens."""
    powers = [2**power for power in range(7, 25)]
    usual = sorted({own, *powers, *(length * 3 // 2 for length in powers)})
    low, high = min(own, max(SHORTEST, own // 8)), min(own * LONGER, most or own * LONGER)
    return [length for length in usual if max(low, least or 0) <= length <= high]


def _point(at: int, candidate: Candidate, solver: Solver, size: int) -> Point:
    other = solver.candidate(candidate.strategy, size, candidate.gradient_accumulation_steps)
    time = time_of(other, solver)
    tokens = time.tokens_per_second * time.step_seconds
    return Point(
        at,
        other.process_bytes,
        time.tokens_per_second,
        tokens / (time.step_seconds_high or time.step_seconds),
        tokens / (time.step_seconds_low or time.step_seconds),
        time.step_seconds,
    )

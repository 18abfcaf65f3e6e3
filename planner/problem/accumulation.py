"""Finds which accumulation steps a search may take, and checks that they can make the effective batch asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.records.asked.request import Workload
from planner.search import Solver
from strategies import (
    DEFAULT_MAX_ACCUMULATION,
    Accumulation,
    ContradictionError,
    Exactly,
    Objective,
    Steps,
    Task,
    UpTo,
    usual_batch,
)

_FIXING = ("gradient_accumulation_steps", "global_batch_size", "tokens_per_step")
"""Fields that decide the accumulation steps, in place of a bound."""


def check_batches(given: Mapping[str, Any]) -> None:
    """Raises ContradictionError if two of the fields that say how large batches are exclude each other."""
    most, batch, tokens = given["max_accumulation"], given["global_batch_size"], given["tokens_per_step"]
    if batch is not None and tokens is not None:
        raise ContradictionError(
            f"global_batch_size={batch} and tokens_per_step={tokens} both say how large the batch is",
            "give one of the two",
        )
    fixing = next((name for name in _FIXING if given[name] is not None), None)
    if most is not None and fixing is not None:
        fixed = "wanted number of steps" if fixing == "gradient_accumulation_steps" else "wanted global batch"
        raise ContradictionError(
            f"max_accumulation={most} and {fixing}={given[fixing]} exclude each other",
            f"a {fixed} decides the accumulation steps: give one of the two",
        )


def adds_nothing(task: Task | None) -> bool:
    """Returns whether accumulation makes no larger batch: negatives of a contrastive loss are in its micro-batch."""
    return task is Task.CONTRASTIVE


def bound(given: Mapping[str, Any], task: Task | None) -> int | None:
    """Returns the most accumulation steps: the default of the task where a search leaves them open.

    Args:
        given: Fields of the request by name.
        task: What the model is trained to do.
    """
    is_open = all(given.get(name) is None for name in (*_FIXING, "max_accumulation"))
    if not is_open or given.get("objective") in (None, Objective.MEMORY):
        most: int | None = given.get("max_accumulation")
        return most
    return 1 if adds_nothing(task) else DEFAULT_MAX_ACCUMULATION


def accumulation_of(request: Workload, real_tokens: int) -> Accumulation:
    """Returns the accumulation steps that a search may take.

    Args:
        request: The request.
        real_tokens: Tokens of a sequence that are not padding, on average.

    Raises:
        ContradictionError: The effective batch asked for cannot be divided over the GPUs.
    """
    steps, ranks = request.gradient_accumulation_steps, request.gpus * request.nodes
    if request.global_batch_size is not None:
        return _exactly(request.global_batch_size, ranks, steps)
    if request.tokens_per_step is not None:
        return _exactly(nearest_batch(request.tokens_per_step, real_tokens, ranks * (steps or 1)), ranks, steps)
    if steps is not None:
        return Steps(steps)
    if request.objective is Objective.MEMORY and request.max_accumulation is None:
        return Exactly(usual_batch(ranks), max_steps=1 if adds_nothing(request.task) else None)
    return UpTo(request.max_accumulation or DEFAULT_MAX_ACCUMULATION)


def nearest_batch(tokens_per_step: int, real_tokens: int, parts: int) -> int:
    """Returns the effective batch nearest to a number of tokens that can be divided into equal parts, in samples."""
    return max(1, round(tokens_per_step / real_tokens / parts)) * parts


def _exactly(wanted: int, ranks: int, steps: int | None) -> Exactly:
    parts = ranks * (steps or 1)
    if wanted % parts:
        into = f"{ranks} GPUs" if steps is None else f"{ranks} GPUs x {steps} accumulation steps"
        raise ContradictionError(
            f"a global batch of {wanted} cannot be divided over {into}",
            f"--global-batch-size {-(-wanted // parts) * parts}",
        )
    return Exactly(wanted, steps=steps)


def check_divisible(accumulation: Exactly, solver: Solver) -> None:
    """Raises ContradictionError if none of the allowed micro-batches can make the requested global batch."""
    sizes = [size for size, _ in accumulation.factors(solver.cluster.world_size)]
    if solver.allowed and not set(solver.allowed) & set(sizes):
        raise ContradictionError(
            f"no micro-batch of {', '.join(map(str, solver.allowed))} makes a global batch of "
            f"{accumulation.global_batch_size} on {solver.cluster.world_size} GPUs",
            f"one of {', '.join(map(str, sizes[:8]))}",
        )


def passes(wanted: int, sequences: int) -> int:
    """Returns how many passes of `sequences` sequences make an effective batch.

    Raises:
        ContradictionError: No number of passes makes it.
    """
    found, rest = divmod(wanted, sequences)
    if rest or not found:
        raise ContradictionError(
            f"a global batch of {wanted} is no multiple of {sequences} sequences a pass",
            f"--global-batch-size {max(1, round(wanted / sequences)) * sequences}, or another micro-batch",
        )
    return found

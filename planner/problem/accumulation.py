"""Finds which accumulation steps a search may take, and checks that they can make the effective batch asked for."""

from __future__ import annotations

from planner.records.request import Workload
from planner.search import Solver
from strategies import DEFAULT_MAX_ACCUMULATION, Accumulation, ContradictionError, Exactly, UpTo


def accumulation_of(request: Workload) -> Accumulation:
    """Returns the accumulation steps that a search may take.

    Raises:
        ContradictionError: The effective batch asked for cannot be divided over the GPUs.
    """
    wanted, ranks = request.global_batch_size, request.gpus * request.nodes
    if wanted is None:
        return UpTo(request.max_accumulation or DEFAULT_MAX_ACCUMULATION)
    if wanted % ranks:
        raise ContradictionError(
            f"a global batch of {wanted} cannot be divided over {ranks} GPUs",
            f"--global-batch-size {-(-wanted // ranks) * ranks}",
        )
    return Exactly(wanted)


def check_divisible(accumulation: Exactly, solver: Solver) -> None:
    """Raises ContradictionError if none of the allowed micro-batches can make the requested global batch."""
    sizes = [size for size, _ in accumulation.factors(solver.cluster.world_size)]
    if solver.allowed and not set(solver.allowed) & set(sizes):
        raise ContradictionError(
            f"no micro-batch of {', '.join(map(str, solver.allowed))} makes a global batch of "
            f"{accumulation.global_batch_size} on {solver.cluster.world_size} GPUs",
            f"one of {', '.join(map(str, sizes[:8]))}",
        )

"""Says where the micro-batch of a configuration stops, and what one more sample would take."""

from __future__ import annotations

from planner.answers.plans import plan_of
from planner.answers.settled import settled
from planner.records.explanation import OneMore
from planner.records.plan import Memory
from planner.search import Candidate, Solver
from strategies import Allocator, Steps


def one_more_of(candidate: Candidate, solver: Solver) -> OneMore:
    """Returns the largest micro-batch of a configuration that fits, and what the next sample would take.

    Args:
        candidate: The configuration, whose own micro-batch plays no part.
        solver: The solver, with the bytes up to which a process fits.
    """
    steps = candidate.gradient_accumulation_steps
    free = Solver(solver.model, solver.limit_bytes, Steps(steps))  # of the micro-batch that was asked for

    def memory(size: int) -> Memory:
        return plan_of(free.candidate(candidate.strategy, size, steps), free).memory

    largest = _largest(candidate, free)
    while (after := memory(largest + 1)).fits:  # a larger one may be served where a smaller one is not
        largest += 1
    before = memory(largest) if largest else None
    on_host = after.process_bytes <= after.budget_bytes
    return OneMore.model_construct(
        largest=largest,
        moment=after.moment,
        on_host=on_host,
        added_bytes=_taken(after, on_host) - (0 if before is None else _taken(before, on_host)),
        free_bytes=_limit(after, on_host) - (0 if before is None else _taken(before, on_host)),
    )


def _largest(candidate: Candidate, solver: Solver) -> int:
    """Returns the largest micro-batch that fits, 0 for none."""
    if candidate.strategy.allocator is Allocator.NATIVE:
        found = settled(candidate, solver)
        return 0 if found is None else found.micro_batch_size
    sizes = solver.sizes(candidate.strategy, candidate.gradient_accumulation_steps)
    return sizes[-1] if sizes else 0


def _taken(memory: Memory, on_host: bool) -> int:
    """Returns the bytes that decide: of the process on a GPU, or of a node's host memory."""
    return memory.host.node_bytes if on_host and memory.host is not None else memory.process_bytes


def _limit(memory: Memory, on_host: bool) -> int:
    return (memory.host.budget_bytes or 0) if on_host and memory.host is not None else memory.budget_bytes

"""Turns a candidate's memory into what users see: what it needs, what it is made of, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planner.memory import Footprint, Host
from planner.memory.reserved import Reserved, reserved
from planner.memory.step.step import Line
from planner.records.plan import Components, HostMemory, Memory
from planner.search import Candidate, Solver
from strategies import Allocator

if TYPE_CHECKING:
    from planner.memory.requests.requests import Requests


def judged_memory(candidate: Candidate, solver: Solver, requests: Sequence[Requests] = ()) -> Memory:
    """Returns the memory of a candidate within the budget; of one that needs more, within what it is said to fit in.

    Where what the allocator reserves is a usual amount, the budget decides: it is no closer than what that leaves.

    Args:
        candidate: The candidate.
        solver: The solver with the budget, and with the bytes up to which a process is said to fit.
        requests: As for `memory_of`.
    """
    memory = memory_of(candidate, solver.budget_bytes, requests)
    is_known = bool(requests) or candidate.strategy.allocator is Allocator.EXPANDABLE
    if is_known and memory.process_bytes > solver.budget_bytes and solver.limit_bytes > solver.budget_bytes:
        return memory_of(candidate, solver.limit_bytes, requests)
    return memory


def memory_of(candidate: Candidate, budget: int, requests: Sequence[Requests] = ()) -> Memory:
    """Returns the memory of a candidate, with the bytes of each category at the peak, which add up to the process's.

    Args:
        candidate: The candidate.
        budget: Bytes that a process may take on one GPU.
        requests: All requests of its steps, on each rank that differs, for the allocator's model to serve; none for
            the closed form of the bytes that it reserves.
    """
    footprint, size = candidate.footprint, candidate.micro_batch_size
    peak, allocated = footprint.peak(size), footprint.allocated_bytes(size)
    needed: int = footprint.reserved_bytes(size)
    unlimited: int | None = None
    if requests:
        limit = footprint.outside.reserved_within(budget)
        of_ranks = [_served(candidate, one, needed, limit) for one in requests]
        needed, unlimited = max(within for within, _ in of_ranks), max(roomy for _, roomy in of_ranks)
    elif (served := candidate.served) is not None:
        needed = served.reserved_bytes + missing_from(candidate, served)
        unlimited = None if served.retries else needed
    process = footprint.outside.process_bytes(needed)
    return Memory.model_construct(
        allocated_bytes=allocated,
        reserved_bytes=needed,
        unlimited_reserved_bytes=unlimited,
        process_bytes=process,
        budget_bytes=budget,
        fits=process <= budget and footprint.host.fits(size),
        moment=peak.moment.value,
        moments={moment.value: num_bytes for moment, num_bytes in footprint.moments(size).items()},
        components=components_of(footprint, peak.line, size, process),
        host=_host_memory(footprint.host, size),
    )


def components_of(footprint: Footprint, line: Line, micro_batch_size: int, process_bytes: int) -> Components:
    """Returns the bytes of each category at one instant of a step; they add up to what the process takes.

    Args:
        footprint: The strategy's memory.
        line: The instant, one of the footprint's lines.
        micro_batch_size: Samples per rank and forward pass.
        process_bytes: Bytes that the process takes at that instant.
    """
    persistent, tensors = footprint.persistent, line.at(micro_batch_size) + footprint.persistent.total
    activations = line.activations_fixed + line.activations_per_sample * micro_batch_size
    communication = persistent.communication + line.communication
    gradients = persistent.gradients + line.gradients
    kept = persistent.parameters + persistent.optimizer_states + communication + gradients + line.unsharded
    # A fused loss saves gradients in forward, which backward hands over: then they are gradients alone.
    activations = min(activations, tensors - kept)
    return Components.model_construct(
        parameters=persistent.parameters,
        gradients=gradients,
        optimizer_states=persistent.optimizer_states,
        activations=activations,
        temporary=tensors - kept - activations,
        unsharded_parameters=line.unsharded,
        communication=communication,
        overhead=process_bytes - tensors,
    )


def _host_memory(host: Host, micro_batch_size: int) -> HostMemory:
    """Returns the host memory of a node."""
    return HostMemory.model_construct(
        node_bytes=host.node_bytes(micro_batch_size),
        budget_bytes=host.limit_bytes,
        parameters=host.ranks * host.kept.parameters,
        gradients=host.ranks * host.kept.gradients,
        optimizer_states=host.ranks * host.kept.optimizer_states,
        activations=host.ranks * host.activations(micro_batch_size),
        loading=host.loading,
    )


def _served(candidate: Candidate, requests: Requests, closed_form: int, limit: int) -> tuple[int, int]:
    """Returns the bytes that the allocator has to reserve, and those that it reserves where memory is plenty.

    A process near its limit gives cached blocks back and goes on, so what it reserves on a larger GPU does not decide
    whether it fits.

    Args:
        candidate: The candidate.
        requests: All requests of its steps.
        closed_form: Bytes by the closed form, a bound for expandable segments.
        limit: Bytes that may be reserved within the budget.
    """
    allocator = candidate.strategy.allocator
    roomy = reserved(requests, allocator)
    missing = missing_from(candidate, roomy)
    unlimited = roomy.reserved_bytes + missing
    needed = closed_form if allocator is Allocator.EXPANDABLE else unlimited
    if needed > limit:
        limited = reserved(requests, allocator, limit - missing)
        needed = limited.reserved_bytes + missing if limited.fits else needed
    return needed, unlimited


def missing_from(candidate: Candidate, served: Reserved) -> int:
    """Returns the allocated bytes that a candidate's requests leave out, by the closed form of its peak.

    That counts what parts do to each other's tensors in a few cases that requests do not follow. Where requests have
    more, nothing is taken off: a block whose rest is too small to be split off counts as a whole.
    """
    return max(0, candidate.footprint.allocated_bytes(candidate.micro_batch_size) - served.allocated_bytes)

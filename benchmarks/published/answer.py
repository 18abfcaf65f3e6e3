"""Asks the planner what a run takes, as it is and with what the run's own libraries held beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from published.libraries.contexts import Contexts
from published.libraries.kernels import with_foak
from published.libraries.losses import loss_of, with_triton
from published.libraries.sampled import sampled
from published.run import Run

from hardware import GPU, load_catalog
from planner.answers.memory import judged_memory
from planner.memory import MemoryModel, Moment
from planner.memory.requests.fsdp1_recorded import Wraps
from planner.memory.requests.requests import Requests
from planner.memory.reserved import processes_of
from planner.memory.tracing.implementations import TODAY, Implementations
from planner.models import Model
from planner.problem.resolve import resolve_one
from planner.records.plan import Memory
from planner.search import Candidate


class Said(NamedTuple):
    """What the planner says of a run.

    Attributes:
        allocated_bytes: Peak of torch's allocated bytes.
        reserved_bytes: Peak of the bytes that torch's allocator reserves, if the GPU has room to spare.
        device_bytes: Peak of the bytes that the driver says are used, likewise.
        fits: Whether the process fits into the GPU.
        moment: The moment of the step at which allocated bytes peak.
    """

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    fits: bool
    moment: Moment


class Answer(NamedTuple):
    """What the planner says of a run.

    Attributes:
        run: The run.
        planner: What it says by its options, of a GPU whose contexts take what they took there.
        built_in: The same of the catalog's GPU.
        derived: What follows with the terms of the run's own libraries and kernels.
    """

    run: Run
    planner: Said
    built_in: Said
    derived: Said


def ask(run: Run) -> Answer:
    """Returns the answer for a run that the planner can be asked about."""
    built_in = said = _said(run, run.request, TODAY, load_catalog().get(run.request["gpu"]), terms=False)
    if run.contexts.eager:
        said = _said(run, run.request, TODAY, run.gpu, terms=False)
    if not (run.then or run.foak or run.loss or run.wraps) and run.contexts == Contexts():
        return Answer(run, said, built_in, said)
    request, implementations = dict(run.request), TODAY
    if run.foak:
        request["kernels"] = "liger"
        implementations = with_foak(implementations)
    if run.loss is not None:
        request["loss"] = loss_of(run.loss).value
    if run.triton:
        implementations = with_triton(implementations)
    return Answer(run, said, built_in, _said(run, request, implementations, run.gpu, terms=True))


_WORKLOAD = (
    *("gpus", "nodes", "host_memory", "task", "sequence_length", "target_length"),
    *("outputs", "evaluation_batch_size", "loading", "headroom"),
)
"""Arguments that are no options of techniques."""


def said_of(model: str, request: Mapping[str, Any]) -> Said:
    """Returns what `planner estimate` says of a request."""
    candidate, of_ranks = _asked(model, request, TODAY)
    footprint = candidate.footprint
    moments = footprint.moments(candidate.micro_batch_size)
    moment = max(moments, key=lambda m: moments[m])
    reserved = max(_reserved(memory) for memory, _ in of_ranks)
    fits = all(memory.fits for memory, _ in of_ranks)
    return Said(moments[moment], reserved, footprint.outside.process_bytes(reserved), fits, moment)


def _said(run: Run, request: Mapping[str, Any], implementations: Implementations, gpu: GPU, *, terms: bool) -> Said:
    """Returns what follows for a run; its device bytes are those of the ranks that were measured."""
    asked = {**request, "gpu": gpu}
    candidate, of_ranks = _asked(run.shape, asked, implementations, run.wraps if terms else None)
    footprint = candidate.footprint
    moments = footprint.moments(run.request["micro_batch_size"])
    moments.pop(Moment.LOADING, None)  # Trainer resets torch's peak when training begins
    before = max(moments.values())
    for term in run.then if terms else ():
        for moment, num_bytes in term.bytes_of(run.tokens).items():
            if moment in moments:
                moments[moment] += num_bytes
    moment = max(moments, key=lambda m: moments[m])
    more, room = moments[moment] - before, gpu.memory_bytes - footprint.outside.process_bytes(0)
    room -= _beside(run, candidate, terms=terms)
    of_gpus = [_reserved_of(memory, requests if terms else None, more, room) for memory, requests in of_ranks]
    used = [gpu.memory_bytes - room + min(reserved, room) + run.driver_bytes for reserved in of_gpus]
    fits = all(memory.fits for memory, _ in of_ranks)
    return Said(moments[moment], max(of_gpus), _of_gpus(used, run), fits, moment)


def _reserved_of(memory: Memory, requests: Requests | None, more: int, room: int) -> int:
    """Returns the bytes that one rank's allocator reserves beside `more` of the run's own libraries, as was measured.

    Args:
        memory: What the planner says of the rank.
        requests: Its requests, for a reading after a full GPU gave its cache back; None for what a plan says.
        more: Bytes that the run's own libraries held beside them.
        room: Bytes of the GPU for the allocator.
    """
    reserved = _reserved(memory) + more
    left = sampled(requests, room - more) if requests is not None and reserved > room else None
    return reserved if left is None else left + more


def _of_gpus(of_ranks: Sequence[int], run: Run) -> int:
    """Returns the mean of a run's GPUs or the largest, as they were measured, from the first rank's and another one's.

    `planner estimate` says the largest.
    """
    if not run.of_all:
        return max(of_ranks)
    gpus = run.request.get("gpus", 1) * run.request.get("nodes", 1)
    return (of_ranks[0] + (gpus - 1) * of_ranks[-1]) // gpus


def _beside(run: Run, candidate: Candidate, *, terms: bool) -> int:
    """Returns the bytes of a GPU that neither torch's allocator has nor every process of the planner's."""
    contexts = run.contexts.of_others(load_catalog().get(run.request["gpu"]).context_bytes) if terms else 0
    return contexts + _communicators(run, candidate) + _managed_bytes(run, candidate)


def _communicators(run: Run, candidate: Candidate) -> int:
    """Returns the bytes of communicators beside that of all ranks: HYBRID_SHARD has one for the ranks of a node."""
    return candidate.footprint.outside.communicator_bytes if run.hybrid else 0


def _managed_bytes(run: Run, candidate: Candidate) -> int:
    """Returns the bytes of optimizer states in managed memory, which stay on a GPU that has room for them.

    They are those of AdamW with fp32 states, and torch's allocator knows nothing of them.
    """
    if not run.managed:
        return 0
    other, _ = _asked(run.shape, dict(run.request) | {"optimizer": "adamw"}, TODAY)
    return other.footprint.persistent.optimizer_states - candidate.footprint.persistent.optimizer_states


def _reserved(memory: Memory) -> int:
    """Returns the bytes that the allocator reserves with room to spare, or by the closed form where that is unknown."""
    unlimited = memory.unlimited_reserved_bytes
    return memory.reserved_bytes if unlimited is None else unlimited


def _asked(
    model: str | Model, request: Mapping[str, Any], implementations: Implementations, wraps: Wraps | None = None
) -> tuple[Candidate, Sequence[tuple[Memory, Requests | None]]]:
    """Returns the candidate of a request, and what `planner estimate` says of each rank's memory, with its requests."""
    axes = dict(request)
    size, steps = axes.pop("micro_batch_size"), axes.pop("gradient_accumulation_steps", 1)
    workload: dict[str, Any] = {"loading": "rank-0"}  # all of them are of transformers 4
    workload |= {name: axes.pop(name) for name in _WORKLOAD if name in axes}
    _, solver, candidate = resolve_one(model, axes.pop("gpu"), None, axes, workload, size, steps)
    if implementations is not TODAY:
        assert isinstance(solver.model, MemoryModel)
        solver.model = solver.model.by(implementations)
        candidate = solver.candidate(candidate.strategy, size, steps)
    processes = processes_of(solver.model, candidate.strategy, size, steps, wraps)
    of_ranks = [process.requests() for process in processes]
    found = [(judged_memory(candidate, solver, [requests]), requests) for requests in of_ranks]
    return candidate, found or [(judged_memory(candidate, solver), None)]

"""Asks the planner what a run takes, as it is and with what the run's own libraries held beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from published.libraries.contexts import Contexts
from published.libraries.kernels import with_foak
from published.libraries.losses import loss_of, with_triton
from published.libraries.sampled import sampled
from published.libraries.wrapping import Recorded
from published.run import Run

from hardware import load_catalog
from planner.answers.memory import memory_of
from planner.memory import MemoryModel, Moment
from planner.memory.requests.fsdp1_loading import WrappingFactory
from planner.memory.requests.requests import Requests
from planner.memory.reserved import requests_of
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
        fits: Whether the process fits into the GPU with the headroom that the planner leaves unless told otherwise.
        moment: The moment of the step at which allocated bytes peak.
    """

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    fits: bool
    moment: Moment


class Answer(NamedTuple):
    """What the planner says, and what follows with the terms of the run's own libraries and kernels."""

    run: Run
    planner: Said
    derived: Said


class Libraries(NamedTuple):
    """Says what computes a run in place of today's libraries.

    Attributes:
        implementations: What computes kernels and losses.
        wrapping: Makes the requests of wrapping FSDP1's units; None for those of today's torch.
    """

    implementations: Implementations = TODAY
    wrapping: WrappingFactory | None = None


def ask(run: Run) -> Answer:
    """Returns the answer for a run that the planner can be asked about."""
    said = _said(run, run.request, Libraries(), terms=False)
    if not (run.then or run.foak or run.loss or run.wraps) and run.contexts == Contexts():
        return Answer(run, said, said)
    request, implementations = dict(run.request), TODAY
    if run.foak:
        request["kernels"] = "liger"
        implementations = with_foak(implementations)
    if run.loss is not None:
        request["loss"] = loss_of(run.loss).value
    if run.triton:
        implementations = with_triton(implementations)
    return Answer(run, said, _of_ranks(run, request, implementations))


def _of_ranks(run: Run, request: Mapping[str, Any], implementations: Implementations) -> Said:
    """Returns what follows with a run's own libraries; its device bytes are those of the ranks that were measured."""
    wraps = run.wraps
    if wraps is None:
        return _said(run, request, Libraries(implementations), terms=True)

    def of_rank(*, ahead: bool) -> Said:
        wrapping = partial(Recorded, wraps=wraps, ahead=ahead)
        return _said(run, request, Libraries(implementations, wrapping), terms=True)

    first = of_rank(ahead=False)
    if not wraps.ahead:
        return first
    other = of_rank(ahead=True).device_bytes
    ranks = request["gpus"] * request.get("nodes", 1)
    mean = (first.device_bytes + (ranks - 1) * other) // ranks
    return first._replace(device_bytes=mean if run.of_all else max(first.device_bytes, other))


_WORKLOAD = (
    *("gpus", "nodes", "host_memory", "task", "sequence_length", "target_length"),
    *("outputs", "evaluation_batch_size"),
)
"""Arguments that are no options of techniques."""


def said_of(model: str, request: Mapping[str, Any]) -> Said:
    """Returns what `planner estimate` says of a request."""
    candidate, memory, _ = _asked(model, request, Libraries())
    footprint = candidate.footprint
    moments = footprint.moments(candidate.micro_batch_size)
    moment = max(moments, key=lambda m: moments[m])
    reserved = _reserved(memory)
    return Said(moments[moment], reserved, footprint.outside.process_bytes(reserved), memory.fits, moment)


def _said(run: Run, request: Mapping[str, Any], libraries: Libraries, *, terms: bool) -> Said:
    candidate, memory, requests = _asked(run.shape, request, libraries)
    footprint = candidate.footprint
    moments = footprint.moments(run.request["micro_batch_size"])
    moments.pop(Moment.LOADING, None)  # Trainer resets torch's peak when training begins
    before = max(moments.values())
    for term in run.then if terms else ():
        for moment, num_bytes in term.bytes_of(run.tokens).items():
            if moment in moments:
                moments[moment] += num_bytes
    moment = max(moments, key=lambda m: moments[m])
    more, total = moments[moment] - before, load_catalog().get(request["gpu"]).memory_bytes
    beside = footprint.outside.process_bytes(0) + _beside(run, candidate, terms=terms)
    reserved = _reserved(memory) + more
    if terms and requests is not None and reserved + beside > total:
        left = sampled(requests, total - beside - more)
        reserved = reserved if left is None else left + more
    device = min(reserved + beside, total) + run.driver_bytes
    return Said(moments[moment], reserved, device, memory.fits, moment)


def _beside(run: Run, candidate: Candidate, *, terms: bool) -> int:
    """Returns the bytes of a GPU that neither torch's allocator has nor every process of the planner's."""
    contexts = run.contexts.more_bytes(candidate.footprint.outside.context_bytes) if terms else 0
    return contexts + _communicators(run, candidate) + _managed_bytes(run, candidate)


def _communicators(run: Run, candidate: Candidate) -> int:
    """Returns the bytes of communicators beside that of all ranks: HYBRID_SHARD has one for the ranks of a node."""
    hybrid = run.wraps is not None and run.wraps.broadcasts > 1
    return candidate.footprint.outside.communicator_bytes if hybrid else 0


def _managed_bytes(run: Run, candidate: Candidate) -> int:
    """Returns the bytes of optimizer states in managed memory, which stay on a GPU that has room for them.

    They are those of AdamW with fp32 states, and torch's allocator knows nothing of them.
    """
    if not run.managed:
        return 0
    other, _, _ = _asked(run.shape, dict(run.request) | {"optimizer": "adamw"}, Libraries())
    return other.footprint.persistent.optimizer_states - candidate.footprint.persistent.optimizer_states


def _reserved(memory: Memory) -> int:
    """Returns the bytes that the allocator reserves with room to spare, or by the closed form where that is unknown."""
    unlimited = memory.unlimited_reserved_bytes
    return memory.reserved_bytes if unlimited is None else unlimited


def _asked(
    model: str | Model, request: Mapping[str, Any], libraries: Libraries
) -> tuple[Candidate, Memory, Requests | None]:
    """Returns the candidate of a request, what `planner estimate` says of its memory with these libraries, and why."""
    axes = dict(request)
    size, steps = axes.pop("micro_batch_size"), axes.pop("gradient_accumulation_steps", 1)
    workload = {name: axes.pop(name) for name in _WORKLOAD if name in axes}
    workload["loading"] = "rank-0"  # all of them are of transformers 4
    _, solver, candidate = resolve_one(model, axes.pop("gpu"), None, axes, workload, size, steps)
    if libraries.implementations is not TODAY:
        assert isinstance(solver.model, MemoryModel)
        solver.model = solver.model.by(libraries.implementations)
        candidate = solver.candidate(candidate.strategy, size, steps)
    requests = requests_of(solver.model, candidate.strategy, size, steps, libraries.wrapping)
    return candidate, memory_of(candidate, solver.budget_bytes, requests), requests

"""Asks the planner what a run takes, as it is and with what the run's own libraries held beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from published.kernels import foak
from published.run import Run

from planner.memory import Footprint, Moment
from planner.problem.problem import resolve_one


class Said(NamedTuple):
    """What the planner says of a run.

    Attributes:
        allocated_bytes: Peak of torch's allocated bytes.
        device_bytes: Peak of the bytes that the driver says are used.
        fits: Whether the process fits into the GPU with the headroom that the planner leaves unless told otherwise.
        moment: The moment of the step at which allocated bytes peak.
    """

    allocated_bytes: int
    device_bytes: int
    fits: bool
    moment: Moment


class Answer(NamedTuple):
    """What the planner says, and what follows with the terms of the run's own libraries and kernels."""

    run: Run
    planner: Said
    derived: Said


def ask(run: Run) -> Answer:
    """Returns the answer for a run that the planner can be asked about."""
    said = _said(run, run.request, terms=False)
    if not run.then and not run.foak:
        return Answer(run, said, said)
    request = dict(run.request)
    if request["loss"] == "liger-cross-entropy":
        request["loss"] = "full"  # the terms of a loss on logits are beside today's
    if run.foak:
        request["kernels"] = "liger"
    with ExitStack() as stack:
        if run.foak:
            stack.enter_context(foak())
        return Answer(run, said, _said(run, request, terms=True))


def said_of(model: str, request: Mapping[str, Any]) -> Said:
    """Returns what `planner estimate` says of a request."""
    size = request["micro_batch_size"]
    footprint, budget = _footprint(model, request)
    moments, process = footprint.moments(size), footprint.process_bytes(size)
    moment = max(moments, key=lambda m: moments[m])
    return Said(moments[moment], process, process <= budget, moment)


def _said(run: Run, request: Mapping[str, Any], *, terms: bool) -> Said:
    size = run.request["micro_batch_size"]
    footprint, budget = _footprint(run.model, request)
    moments = footprint.moments(size)
    moments.pop(Moment.LOADING, None)  # Trainer resets torch's peak when training begins
    for term in run.then if terms else ():
        for moment, num_bytes in term.per_token.items():
            if moment in moments:
                moments[moment] += num_bytes * run.tokens
        for moment, num_bytes in term.fixed.items():
            if moment in moments:
                moments[moment] += num_bytes
    moment = max(moments, key=lambda m: moments[m])
    process = footprint.process_bytes(size)
    if terms:
        process = footprint.outside.process_bytes(footprint.slack.reserved_bytes(moments[moment]))
    return Said(moments[moment], process + run.driver_bytes, process <= budget, moment)


def _footprint(model: str, request: Mapping[str, Any]) -> tuple[Footprint, int]:
    """Returns the footprint of a request, and the bytes of the GPU that it may take."""
    axes = dict(request)
    size, steps = axes.pop("micro_batch_size"), axes.pop("gradient_accumulation_steps", 1)
    workload = {name: axes.pop(name) for name in ("gpus", "nodes", "sequence_length") if name in axes}
    workload["loading"] = "rank-0"  # all of them are of transformers 4
    _, solver, candidate = resolve_one(model, axes.pop("gpu"), None, axes, workload, size, steps)
    return candidate.footprint, solver.budget_bytes

"""Verifies a plan without a GPU: replays its real training step and compares the memory model with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from hardware import PlannerError
from planner.answers.notes.notes import notes_for
from planner.answers.plans import plan_of
from planner.extras import Progress, needed_for
from planner.memory import Moment
from planner.problem.problem import Problem
from planner.records.verification import Device, Measured, PeakTensors, PhaseBytes, Reservation, Verification
from planner.search import Candidate, Solver
from planner.verification.measure import Step, check, measure
from strategies import Allocator

if TYPE_CHECKING:  # torch is imported only when something is replayed
    from planner.replay import Trace


MOMENTS = {
    "forward": (Moment.FORWARD, Moment.END_OF_FORWARD),
    "backward": (Moment.START_OF_BACKWARD, Moment.BLOCK_BACKWARD, Moment.EMBEDDING_BACKWARD, Moment.BACKWARD),
    "optimizer": (Moment.OPTIMIZER_STEP,),
    "evaluation": (Moment.EVALUATION,),
}
"""Moments of the memory model that belong to each phase of a replay."""


def phases_of(moments: Mapping[str, int]) -> dict[str, int]:
    """Returns the memory model's peak bytes in each phase of a replay, without phases that do not happen.

    Args:
        moments: Peak bytes of each moment of the memory model.
    """
    found = {phase: [moments[moment] for moment in of if moment in moments] for phase, of in MOMENTS.items()}
    return {phase: max(peaks) for phase, peaks in found.items() if peaks}


class Verified(NamedTuple):
    """Holds the result of a replay."""

    verification: Verification
    trace: Trace
    """Allocations that the replay recorded, from which the verification is made."""


def verify_candidate(
    problem: Problem, solver: Solver, candidate: Candidate, progress: Progress, device: Device = Device.REPLAY
) -> Verified:
    """Replays a candidate and compares the memory model with the replay.

    Args:
        problem: The resolved request.
        solver: The solver that found the candidate, with the budget.
        candidate: The strategy, micro-batch and accumulation to replay.
        progress: Function that is called with a line of text about what takes long.
        device: Device on which the step runs for real as well; `Device.REPLAY` for none.

    Raises:
        ContradictionError: The candidate cannot be replayed, or cannot run for real on the device.
        MissingExtraError: torch or transformers is not installed.
        PlannerError: The device or its memory does not suffice.
    """
    start = time.perf_counter()
    step = step_of(problem, candidate, progress)
    needed = plan_of(candidate, solver).memory.allocated_bytes
    check(device, candidate.strategy, problem.cluster.world_size, needed)
    trace = replayed(step, progress)
    progress("serving the trace")
    seconds = time.perf_counter() - start
    measured = measure(device, step, trace, progress)
    return Verified(_verification(problem, solver, candidate, trace, seconds, measured), trace)


def step_of(problem: Problem, candidate: Candidate, progress: Progress) -> Step:
    """Returns the model, strategy and workload that the replay of a candidate runs.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    progress("importing torch and transformers")
    with needed_for("a replay", "verify"):
        from planner.replay import Workload
    workload = Workload(
        problem.request.sequence_length,
        candidate.micro_batch_size,
        candidate.gradient_accumulation_steps,
        problem.cluster.world_size,
        problem.cluster.gpu.cublas_workspace_bytes,
        has_flash=problem.cluster.gpu.supports_flash_attention,
        evaluation_batch_size=problem.request.evaluation_batch_size,
        batching=problem.request.batching,
        outputs=problem.request.outputs,
        prefers_cudnn=problem.cluster.gpu.prefers_cudnn_attention,
        target_length=problem.request.target_length,
    )
    return Step(problem.model.source, candidate.strategy, workload)


def replayed(step: Step, progress: Progress) -> Trace:
    """Returns the allocations of a step that runs on fake tensors.

    Raises:
        PlannerError: A tensor is too large for torch to count, or the step cannot be replayed.
    """
    from planner.replay import replay

    try:
        return replay(*step, progress=progress)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise PlannerError(f"the step has tensors that no machine could count: {error}", "take smaller sizes") from None


def _verification(
    problem: Problem,
    solver: Solver,
    candidate: Candidate,
    trace: Trace,
    seconds: float,
    measured: Measured | None,
) -> Verification:
    from planner.replay.recording.serve import alive_at_peak

    plan, outside = plan_of(candidate, solver), candidate.footprint.outside
    budget = _budget(problem, candidate, trace)
    limit = outside.reserved_within(budget)
    if budget != plan.memory.budget_bytes:
        plan = plan.model_copy(update={"memory": plan.memory.model_copy(update={"budget_bytes": budget})})
    allocators = {}
    for allocator in Allocator:
        allocated, reservation = _served(trace, allocator, limit)
        allocators[allocator] = reservation
        if allocator is candidate.strategy.allocator:
            allocated_bytes, served = allocated, reservation
    phase, alive = alive_at_peak(trace)
    return Verification.model_construct(
        schema_version=1,
        request=problem.request,
        plan=plan,
        phases=dict(_phases(trace, plan.memory.moments)),
        allocated_bytes=allocated_bytes,
        reserved_bytes=served.reserved_bytes,
        process_bytes=outside.process_bytes(served.reserved_bytes),
        fits=served.fits,
        allocators=allocators,
        peak_phase=phase.value,
        peak_tensors=tuple(PeakTensors.model_construct(**group._asdict()) for group in alive),
        difference=plan.memory.allocated_bytes / allocated_bytes - 1,
        measured=measured,
        seconds=seconds,
        notes=notes_for(problem, [candidate.strategy]),
    )


def _budget(problem: Problem, candidate: Candidate, trace: Trace) -> int:
    """Returns the budget, or where a trace needs more than that, the bytes up to which it is said to fit."""
    from planner.allocator.kinds import KINDS
    from planner.replay.recording.serve import serve

    limit = candidate.footprint.outside.reserved_within(problem.budget_bytes)
    if problem.limit_bytes == problem.budget_bytes or serve(trace, KINDS[candidate.strategy.allocator](limit)).fits:
        return problem.budget_bytes
    return problem.limit_bytes


def _served(trace: Trace, allocator: Allocator, limit_bytes: int) -> tuple[int, Reservation]:
    """Serves a trace with a caching allocator; returns the peak of allocated bytes, and what it reserves for them.

    Args:
        trace: The trace of a replay.
        allocator: The kind of allocator.
        limit_bytes: Bytes that the allocator may reserve within the budget.
    """
    from planner.allocator.kinds import KINDS
    from planner.replay.recording.serve import serve

    kind = KINDS[allocator]
    limited, unlimited = serve(trace, kind(limit_bytes)), serve(trace, kind())
    used = limited if limited.fits else unlimited
    return used.allocated_bytes, Reservation.model_construct(
        reserved_bytes=used.reserved_bytes,
        unlimited_reserved_bytes=unlimited.reserved_bytes,
        retries=limited.retries,
        fits=limited.fits,
    )


def _phases(trace: Trace, modelled: dict[str, int]) -> Iterator[tuple[str, PhaseBytes]]:
    """Yields the peaks of each phase, given the bytes of the memory model's moments."""
    peaks = {phase.value: peak for phase, peak in trace.peaks().items()}
    for phase, model_bytes in phases_of(modelled).items():
        replay_bytes = peaks[phase]
        yield (
            phase,
            PhaseBytes.model_construct(
                replay_bytes=replay_bytes, model_bytes=model_bytes, difference=model_bytes / replay_bytes - 1
            ),
        )

"""Runs training steps for real and measures the peaks of their memory, and their time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from gpu.case import Case
from gpu.forked import NotHereError
from gpu.libraries import assembled, check_libraries, uses_libraries
from torch.nn.attention import SDPBackend, sdpa_kernel

from planner.replay import Workload
from planner.replay.backend import CPU, CUDA, Backend
from planner.replay.engines import engine_of
from planner.replay.loop import Steps
from planner.replay.real.cuda_memory import CudaCounters
from planner.replay.real.run import Counters, Unlabelled, run_on_cpu
from planner.replay.recording.trace import Phase
from planner.replay.silence import undisturbed
from planner.replay.workload import STEPS
from strategies import PLAIN, Allocator, Attention, Strategy

WARM_STEPS, TIMED_STEPS = 2, 7
LONG_SECONDS = 4.0
"""Time of all timed steps after which no more are timed, except that there are at least three."""

KERNELS_SHOWN = 20


def strategy_of(request: Mapping[str, Any]) -> Strategy:
    """Returns the strategy of a request; options that it leaves out are the plainest."""
    return Strategy.of({**PLAIN.to_options(), **_parsed(request["options"])})


def _parsed(options: Mapping[str, Any]) -> dict[str, Any]:
    from planner.records.asked.axes import parse_axes

    return {name: values[0] for name, values in parse_axes(options).items()}


def workload_of(request: Mapping[str, Any], cublas_workspace_bytes: int = 0) -> Workload:
    return Workload(
        request["sequence_length"],
        request["micro_batch_size"],
        request.get("gradient_accumulation_steps", 1),
        cublas_workspace_bytes=cublas_workspace_bytes,
        evaluation_batch_size=request.get("evaluation_batch_size"),
    )


class ProcessCounters(CudaCounters):
    """Records in addition the bytes in use on the GPU at the end of each phase, including the context.

    No other process uses the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.process_bytes = 0

    def close(self) -> None:
        super().close()
        self.process_bytes = max(self.process_bytes, taken_bytes())


def taken_bytes() -> int:
    """Returns the bytes of the GPU that are in use by all processes (cudaMemGetInfo)."""
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def memory_on(device: str) -> Callable[[Case], dict[str, Any]]:
    return _memory_on_gpu if device == "cuda" else _memory_on_cpu


def _memory_on_cpu(case: Case) -> dict[str, Any]:
    """Returns the peaks of the CPU's allocator, by torch's profiler, for strategies without stand-ins."""
    strategy, workload = strategy_of(case.request), workload_of(case.request)
    check_libraries(strategy)
    if uses_libraries(strategy):
        raise NotHereError("the planner has no account of how this library allocates on a CPU")
    peaks = run_on_cpu(case.request["model"], strategy, workload).trace.peaks()
    return {"phases": {phase.value: {"allocated_bytes": peak} for phase, peak in peaks.items() if peak}}


def _memory_on_gpu(case: Case) -> dict[str, Any]:
    strategy = strategy_of(case.request)
    counters = ProcessCounters()
    prepare_gpu(strategy)
    context = taken_bytes()
    with undisturbed(), kernels_of(strategy):
        steps_of(case.request, CUDA, counters).run(lambda _: None)
        counters.close()
    phases = {
        phase.value: {"allocated_bytes": peak.allocated_bytes, "reserved_bytes": peak.reserved_bytes}
        for phase, peak in counters.peaks.items()
    }
    return {"phases": phases, "process_bytes": counters.process_bytes, "context_bytes": context}


def prepare_gpu(strategy: Strategy) -> None:
    """Sets the allocator and the matrix products of a strategy, and creates the context of the process."""
    expandable = strategy.allocator is Allocator.EXPANDABLE
    torch.cuda.memory._set_allocator_settings(f"expandable_segments:{expandable}")
    torch.backends.cuda.matmul.allow_tf32 = strategy.precision.facts.matmul_dtype == "tf32"
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()


# --- time ---


def time_on(device: str) -> Callable[[Case], dict[str, Any]]:
    """Returns a function that measures the seconds of a warm step: the median of several steps.

    For cases with `kernels` it measures the longest kernels as well.
    """

    def timed(case: Case) -> dict[str, Any]:
        backend = CUDA if device == "cuda" else CPU
        strategy = strategy_of(case.request)
        if device == "cuda":
            prepare_gpu(strategy)
        with undisturbed(), kernels_of(strategy):
            steps = steps_of(case.request, backend)
            seconds = _seconds(steps, device)
            found = {"step_seconds": statistics.median(seconds), "all_seconds": seconds}
            if case.request.get("kernels"):
                found["kernels"] = _kernels(steps, device)
        return found

    return timed


def steps_of(request: Mapping[str, Any], backend: Backend, counters: Counters | None = None) -> Steps:
    """Returns a training loop of a model with small random weights on the device."""
    source, strategy, workload = request["model"], strategy_of(request), workload_of(request)
    model = assembled(source, strategy, backend)
    recorder = Unlabelled(counters or _Nothing())
    engine = engine_of(strategy, workload.world_size)
    return Steps(model, engine, source, workload, backend, recorder, {}, workload.gradient_accumulation_steps)


def kernels_of(strategy: Strategy) -> AbstractContextManager[Any]:
    """Returns a context in which SDPA runs the kernel that the strategy names, if it names one."""
    if strategy.attention is Attention.SDPA_EFFICIENT:
        return sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION)
    return nullcontext()


class _Nothing:
    """Serves as counters that count nothing."""

    def enter(self, phase: Phase, step: int) -> None:
        pass


def _seconds(steps: Steps, device: str) -> list[float]:
    found: list[float] = []
    for number in range(WARM_STEPS + TIMED_STEPS):
        synchronize(device)
        start = time.perf_counter()
        steps.step(STEPS if number else 1)
        synchronize(device)
        if number >= WARM_STEPS:
            found.append(time.perf_counter() - start)
        if len(found) >= 3 and sum(found) > LONG_SECONDS:
            break
    return found


def _kernels(steps: Steps, device: str) -> dict[str, float]:
    """Returns the seconds of the longest kernels of one step, by name."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        steps.step(STEPS)
        synchronize(device)
    name = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    times = sorted(((event.key[:120], getattr(event, name) / 1e6) for event in profiler.key_averages()), key=_second)
    return dict(times[::-1][:KERNELS_SHOWN])


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()

"""Runs the step of a plan for real, on a GPU or (small models) on the CPU, and compares its replay with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from hardware import MIB, PlannerError
from planner.records.verification import Device, Measured, MeasuredPhase
from strategies import (
    Attention,
    ContradictionError,
    Finetuning,
    Fsdp2,
    InvalidChoiceError,
    Kernels,
    Loss,
    Optimizer,
    Strategy,
)

if TYPE_CHECKING:  # torch is imported only when a step runs
    from planner.replay import Trace, Workload

DEVICES = tuple(Device)
"""Devices that `verify` takes."""

REAL_OPTIMIZERS = (
    Optimizer.ADAMW,
    Optimizer.ADAMW_FOREACH,
    Optimizer.ADAFACTOR,
    Optimizer.MUON,
    Optimizer.SGD,
    Optimizer.SGD_MOMENTUM,
)
"""Optimizers that run for real: `planner.replay.setup.optimizers` builds the real ones, which run on any device."""


class Step(NamedTuple):
    """Describes what is replayed and run for real."""

    source: Mapping[str, Any] | str
    """Fields of the model's config.json, or `package.module:function`."""
    strategy: Strategy
    workload: Workload


def device_of(name: str) -> Device:
    """Returns the device with a name.

    Raises:
        InvalidChoiceError: There is no such device.
    """
    if not isinstance(name, str) or name not in DEVICES:
        raise InvalidChoiceError("device", name, DEVICES)
    return Device(name)


def check(device: Device, strategy: Strategy, world_size: int, needed_bytes: int) -> None:
    """Raises an error if a strategy cannot run for real on a device, before anything is replayed.

    Args:
        device: The device; with `Device.REPLAY` nothing runs for real, and nothing is checked.
        strategy: The strategy.
        world_size: Number of ranks.
        needed_bytes: Peak bytes of the tensors of one rank, by the memory model.

    Raises:
        ContradictionError: A choice has only a stand-in, or the device cannot run the strategy or that number of ranks.
        PlannerError: This machine has no such device, or too little free memory.
    """
    if device is Device.REPLAY:
        return
    if strategy.finetuning.method is Finetuning.QLORA:
        raise ContradictionError(
            "the layers of bitsandbytes are a stand-in, which proves nothing when it runs for real",
            "--finetuning lora, or --device replay",
        )
    if strategy.checkpointing.choice.facts.offloads and device is Device.CPU:
        raise ContradictionError("on the CPU there is no other memory to offload to", "--checkpointing full")
    if isinstance(strategy.sharding, Fsdp2) and strategy.sharding.on_host:
        raise ContradictionError(
            "parameters that wait in the host's memory are a stand-in, which proves nothing when it runs for real",
            "--offload none, or --device replay",
        )
    if strategy.optimizer not in REAL_OPTIMIZERS or strategy.precision.facts.linear_dtype == "fp8":
        raise ContradictionError(
            f"{strategy.precision} with {strategy.optimizer.choice} cannot run for real here, only be replayed",
            "--optimizer adamw --precision bf16-mixed, or --device replay",
        )
    if stand_in := _stand_in(strategy):
        raise ContradictionError(
            f"{stand_in} is a stand-in, which proves nothing when it runs for real", "--device replay"
        )
    if world_size > 1 and not (device is Device.CPU and strategy.sharding.shards):
        raise ContradictionError(
            f"{world_size} GPUs cannot run for real with --device {device}",
            "--gpus 1; sharded ranks run with --device cpu",
        )
    if device is Device.CUDA:
        from planner.replay.real.cuda_memory import check_cuda

        check_cuda()
    else:
        _check_memory(needed_bytes * world_size)


def _stand_in(strategy: Strategy) -> str | None:
    """Names the choice whose kernels a replay replaces by a stand-in that only allocates; None if there is none."""
    if strategy.attention not in (Attention.EAGER, Attention.SDPA):
        return f"attention {strategy.attention}"
    if strategy.loss is not Loss.FULL and not strategy.loss.is_earlier:
        return f"loss {strategy.loss}"
    return f"kernels {strategy.kernels}" if strategy.kernels is not Kernels.EAGER else None


def measure(device: Device, step: Step, replayed: Trace, progress: Callable[[str], None]) -> Measured | None:
    """Runs the step for real and compares its replay with it.

    Args:
        device: Where the step runs; nothing runs for `Device.REPLAY`.
        step: The step.
        replayed: Its replay with CUDA's kernels. A step on the CPU is compared with another replay, which uses the
            CPU's kernels.
        progress: Function that is called with a line of text about what takes long.

    Returns:
        The peaks of each phase, or None if nothing ran for real.
    """
    if device is Device.REPLAY:
        return None
    start = time.perf_counter()
    phases, left_out = _on_cuda(step, replayed, progress) if device is Device.CUDA else _on_cpu(step, progress)
    return Measured.model_construct(
        device=device, phases=phases, left_out=left_out, seconds=time.perf_counter() - start
    )


def _on_cuda(
    step: Step, replayed: Trace, progress: Callable[[str], None]
) -> tuple[dict[str, MeasuredPhase], dict[str, int]]:
    """Runs the step on a GPU; returns the peaks of each phase, and no bytes that are left out."""
    from planner.allocator.native import CachingAllocator
    from planner.replay.real.cuda_memory import run_on_cuda
    from planner.replay.recording.serve import serve

    peaks = run_on_cuda(*step, progress=_for_real(progress))
    served = serve(replayed, CachingAllocator()).phases
    phases = {
        phase.value: _phase(peak.allocated_bytes, served[phase][0], peak.reserved_bytes, served[phase][1])
        for phase, peak in peaks.items()
    }
    return phases, {}


def _on_cpu(step: Step, progress: Callable[[str], None]) -> tuple[dict[str, MeasuredPhase], dict[str, int]]:
    """Runs the step on the CPU; returns the peaks of each phase, and the scratch bytes of kernels, left out of them.

    Raises:
        PlannerError: This machine has too little free memory.
    """
    from planner.replay import Phase, replay
    from planner.replay.backend import CPU
    from planner.replay.real.gloo import run_on_ranks
    from planner.replay.real.run import run_on_cpu

    step = step._replace(workload=step.workload._replace(cublas_workspace_bytes=0))
    ranks = step.workload.world_size
    replayed = replay(*step, backend=CPU, progress=lambda text: progress(f"on the CPU, {text}")).peaks()
    _check_memory(max(replayed.values()) * ranks)
    recorded = run_on_ranks(*step) if ranks > 1 else run_on_cpu(*step, progress=_for_real(progress))
    measured = recorded.trace.peaks()
    phases = {p.value: _phase(measured[p], replayed[p]) for p in Phase if p is not Phase.LOADING and replayed[p]}
    return phases, recorded.workspaces


def _phase(
    measured: int, replayed: int, measured_reserved: int | None = None, replayed_reserved: int | None = None
) -> MeasuredPhase:
    return MeasuredPhase.model_construct(
        measured_bytes=measured,
        replay_bytes=replayed,
        difference=replayed / measured - 1,
        measured_reserved_bytes=measured_reserved,
        replay_reserved_bytes=replayed_reserved,
    )


def _for_real(progress: Callable[[str], None]) -> Callable[[str], None]:
    """Returns a progress function whose lines say that the step runs for real."""
    return lambda text: progress(f"for real, {text}")


def _check_memory(needed_bytes: int) -> None:
    """Raises PlannerError if this machine has less free memory than is needed."""
    free = free_bytes()
    if needed_bytes > free:
        raise PlannerError(
            f"the real step needs {needed_bytes / MIB:,.0f} MiB, and this machine has {free / MIB:,.0f} MiB free",
            "--device replay needs no memory, or take a smaller model, --sequence-length or --micro-batch-size",
        )


def free_bytes() -> int:
    """Returns the free bytes of this machine's memory, without what the system could give back from its caches."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

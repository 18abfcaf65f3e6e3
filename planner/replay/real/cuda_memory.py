"""Runs the step for real on a GPU and reads the peaks that torch counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from hardware import PlannerError
from planner.replay.backend import CUDA
from planner.replay.real.run import run
from planner.replay.recording.trace import Phase
from planner.replay.silence import undisturbed
from planner.replay.structure.source import Source
from planner.replay.workload import STEPS, Workload
from strategies import Strategy


class DeviceError(PlannerError):
    """Reports a device on which the step cannot run for real."""


class Peak(NamedTuple):
    """Holds the peak bytes of one phase of the last step, as `torch.cuda` counts them."""

    allocated_bytes: int
    reserved_bytes: int


class CudaCounters:
    """Measures the peaks of each phase of the last step.

    Args:
        cuda: The module that counts: `torch.cuda` or one with the same functions.

    Attributes:
        peaks: The peaks of the phases that have ended.
    """

    def __init__(self, cuda: Any = torch.cuda) -> None:
        self.cuda = cuda
        self.peaks: dict[Phase, Peak] = {}
        self._open: Phase | None = None

    def enter(self, phase: Phase, step: int) -> None:
        """Ends the phase that is being measured; starts to measure this one if it belongs to the last step."""
        self.close()
        if step == STEPS:
            self.cuda.reset_peak_memory_stats()
            self._open = phase

    def close(self) -> None:
        """Ends the phase that is being measured and reads its peaks.

        A phase that occurs in several micro-batches keeps the largest of its peaks.
        """
        if self._open is None:
            return
        self.cuda.synchronize()
        now = Peak(self.cuda.max_memory_allocated(), self.cuda.max_memory_reserved())
        before = self.peaks.get(self._open, Peak(0, 0))
        self.peaks[self._open] = Peak(*map(max, now, before))
        self._open = None


def check_cuda() -> None:
    """Checks that torch finds a GPU.

    Raises:
        DeviceError: There is no GPU that torch can use.
    """
    if not torch.cuda.is_available():
        raise DeviceError(
            f"torch {torch.__version__} finds no CUDA device here",
            "run on the GPU, or --device cpu, which runs small models for real without one",
        )


def run_on_cuda(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[Phase, Peak]:
    """Runs the steps on a GPU and returns the peaks of each phase of the last step.

    Args:
        source: The model, as for `planner.replay.replay`.
        strategy: The strategy to train it with.
        workload: Batch and sequence sizes.
        progress: Told what takes long.

    Raises:
        DeviceError: There is no CUDA device, or its memory does not suffice.
    """
    check_cuda()
    counters = CudaCounters()
    try:
        with undisturbed():
            run(source, strategy, workload, CUDA, counters, progress=progress)
            counters.close()
    except torch.cuda.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(f"the real step does not fit: {reason}", "planner fit finds what does") from None
    return counters.peaks

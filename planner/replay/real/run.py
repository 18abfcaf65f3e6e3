"""Runs the step for real, by the same code as the replay, so that the replay can be compared with a real allocator."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile

from planner.extras import Progress
from planner.replay.backend import CPU, Backend
from planner.replay.engines import engine_of
from planner.replay.loop import Steps
from planner.replay.real.profiled import Marks, Recorded, recorded
from planner.replay.recording.tensors import local
from planner.replay.recording.trace import Phase, Scope
from planner.replay.setup.build import build, equip
from planner.replay.silence import undisturbed
from planner.replay.stand_ins.losses.chunked import Kernels
from planner.replay.structure.source import Source
from planner.replay.workload import Workload
from strategies import Strategy

SCALE = 0.02
"""Standard deviation of the random weights, as `initializer_range` of most configs: it has to keep the loss finite."""

SILENT = "6"
"""A level above those of all messages that the profiler writes to stderr (kineto, libkineto/src/ILoggerObserver.h)."""


class Counters(Protocol):
    """Measures each phase of a real step with the device's allocator."""

    def enter(self, phase: Phase, step: int) -> None:
        """Ends the phase that is being measured and starts this one."""
        ...


class Unlabelled:
    """Serves as the recorder of a real step: passes phases on to counters and ignores the names of tensors."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.scope: Scope | None = None

    def enter(self, phase: Phase, step: int) -> None:
        """Tells the counters that a phase starts."""
        self.counters.enter(phase, step)

    def label(self, category: str, tensors: Iterable[tuple[str, torch.Tensor | None, Scope | None]]) -> None:
        """Does nothing: an allocator knows no names."""

    def settle(self) -> None:
        """Does nothing: an allocator knows no blocks of the model."""


def run(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    backend: Backend,
    counters: Counters,
    progress: Progress = lambda _: None,
) -> None:
    """Runs the same steps for real that `replay` replays.

    Args:
        source: The model, as for `planner.replay.replay`.
        strategy: The strategy to train it with.
        workload: Batch and sequence sizes.
        backend: The device to run on and its kernels.
        counters: Told of each phase as it starts.
        progress: Told what takes long.
    """
    progress("building the model")
    model = equip(build(source, strategy, backend), strategy, Kernels(has_triton=backend is not CPU))
    counters.enter(Phase.LOADING, 0)
    engine = engine_of(strategy, workload.world_size)
    engine.connect()
    model = engine.place(model, backend)
    initialize(model)
    micro_batches = workload.gradient_accumulation_steps
    Steps(model, engine, source, workload, backend, Unlabelled(counters), {}, micro_batches).run(progress)


def run_on_cpu(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    *,
    progress: Progress = lambda _: None,
) -> Recorded:
    """Runs the steps on the CPU and returns what its allocator allocates and frees, as torch's profiler records it.

    The arguments are those of `run`.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", SILENT)
    marks = Marks()
    with undisturbed():
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run(source, strategy, workload, CPU, marks, progress)
            marks.close()
        results = profiler.profiler
        assert results is not None
        return recorded(results.kineto_results.experimental_event_tree(), marks.phases)


@torch.no_grad()
def initialize(model: Any) -> None:
    """Fills the parameters with small random values, the same each time, and the buffers with zeros."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        local(parameter).normal_(0.0, SCALE)
    for buffer in model.buffers():
        local(buffer).zero_()

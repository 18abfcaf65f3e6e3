"""Runs the step for real, with the code that the replay runs: what its allocator then says holds for the replay."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile

from planner.extras import Progress
from planner.replay.backend import CPU, Backend
from planner.replay.real.profiled import Marks, Recorded, recorded
from planner.replay.recording.recorder import local
from planner.replay.recording.trace import Label, Phase, Scope
from planner.replay.setup.build import build, equip, place
from planner.replay.step import Steps, Workload, undisturbed
from planner.replay.structure.source import Source
from strategies import Strategy

SCALE = 0.02
"""Of the random weights, as `initializer_range` of most configs: they only have to keep the loss finite."""

_SILENT = "6"
"""Above every level of the profiler's messages, which it writes to stderr (kineto, libkineto/src/ILoggerObserver.h)."""


class Counters(Protocol):
    """What a device's allocator says of each phase."""

    def enter(self, phase: Phase, step: int) -> None: ...


class Unlabelled:
    """The recorder of a real step: its allocator counts, and knows no names."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.scope: Scope | None = None

    def enter(self, phase: Phase, step: int) -> None:
        self.counters.enter(phase, step)

    def label(self, category: str, tensors: Iterable[tuple[str, torch.Tensor | None, Scope | None]]) -> None:
        pass

    def settle(self) -> None:
        pass

    def allocate(self, size: int, label: Label) -> None:
        """What a real step allocates by itself."""


def run(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    backend: Backend,
    counters: Counters,
    mesh: Any = None,
    progress: Progress = lambda _: None,
) -> None:
    """Runs the steps that `replay` replays. `mesh`: of the ranks, where the strategy shards."""
    progress("building the model")
    model = equip(build(source, strategy, backend), strategy)
    counters.enter(Phase.LOADING, 0)
    model = place(model, strategy, mesh, backend)
    initialize(model)
    micro_batches = workload.gradient_accumulation_steps
    Steps(model, source, strategy, workload, backend, Unlabelled(counters), {}, micro_batches).run(progress)


def run_on_cpu(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    *,
    mesh: Any = None,
    progress: Progress = lambda _: None,
) -> Recorded:
    """What the CPU's allocator allocates and frees during the steps, by torch's profiler."""
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    marks = Marks()
    with undisturbed():
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run(source, strategy, workload, CPU, marks, mesh, progress)
            marks.close()
        results = profiler.profiler
        assert results is not None
        return recorded(results.kineto_results.experimental_event_tree(), marks.phases)


@torch.no_grad()
def initialize(model: Any) -> None:
    """Small random weights, the same ones each time."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        local(parameter).normal_(0.0, SCALE)
    for buffer in model.buffers():
        local(buffer).zero_()

"""Reads the allocations of a real step out of torch's profiler, as the trace that a replay of it is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch._C._profiler import _EventType
from torch.profiler import record_function

from planner.replay.recording.trace import Event, Label, Phase, Section, Trace

MARK = "planner:"
"""Before the number of a phase, in the names of the profiler's ranges."""

GENERATOR = "generator state"
GLOO = "gloo"
_COLLECTIVES = ("c10d::", "gloo:")

_PACKED = "oneDNN packs the matrices of a half-precision product into a scratchpad (ideep, matmul)"
_TILES = "tiles of scores and sums of each thread (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp)"

_PROMOTED = "operands are copied to a common dtype, which CUDA's kernels do in registers (TensorIterator.cpp)"

WORKSPACES: Mapping[str, str] = {
    "aten::add": _PROMOTED,
    "aten::mul": _PROMOTED,
    "aten::mm": _PACKED,
    "aten::addmm": _PACKED,
    "aten::bmm": _PACKED,
    "aten::baddbmm": _PACKED,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _TILES,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _TILES,
    GLOO: "gloo copies what it exchanges (torch/csrc/distributed/c10d/ProcessGroupGloo.cpp); NCCL works in place",
    GENERATOR: "checkpointing saves the state of the CPU's random generator, in host memory on a GPU as well",
}
"""What a CPU step allocates that no replay shows, with the reason: what these kernels allocate for themselves and free
before they return, and what torch allocates on the host for any device. It is measured, and left out of the trace."""


class Marks:
    """Marks the phases of a step in the profiler's record."""

    def __init__(self) -> None:
        self.phases: list[tuple[Phase, int]] = []
        self._open = ExitStack()

    def enter(self, phase: Phase, step: int) -> None:
        self.close()
        self._open.enter_context(record_function(f"{MARK}{len(self.phases)}"))
        self.phases.append((phase, step))

    def close(self) -> None:
        self._open.close()


class Recorded(NamedTuple):
    """A real step's allocations."""

    trace: Trace
    workspaces: dict[str, int]
    """The largest single allocation of each kind in `WORKSPACES`, in bytes: not in the trace."""


class _Change(NamedTuple):
    """One allocation (`size` > 0) or free of the profiler's record, in the ranges `within`: first the phase's."""

    time: int
    address: int
    size: int
    within: tuple[Any, ...]

    @property
    def section(self) -> int:
        return int(self.within[0].name.removeprefix(MARK))


class _Lifetime(NamedTuple):
    made: _Change
    freed: _Change | None

    @property
    def workspace(self) -> str | None:
        """Of `WORKSPACES`, which it is."""
        for event in self.made.within:
            if event.name.startswith(_COLLECTIVES):
                return GLOO
            if event.name in WORKSPACES and self.freed is not None and self.freed.time <= event.end_time_ns:
                return str(event.name)
        without_operator = not any(event.name.startswith("aten::") for event in self.made.within)
        return GENERATOR if without_operator and self.made.size == torch.get_rng_state().nbytes else None


def recorded(events: list[Any], phases: list[tuple[Phase, int]]) -> Recorded:
    """The allocations in a profiler's event tree; a storage that is older than the record is left out.

    Only the thread that enters the phases counts: gloo's threads hold copies of their own, which they free late.
    """
    trace = Trace([Section(phase, step, []) for phase, step in phases], {}, {})
    workspaces = Counter[str]()
    timed: list[tuple[_Change, int]] = []
    for storage, life in enumerate(_lifetimes(events), 1):
        if kind := life.workspace:
            workspaces[kind] = max(workspaces[kind], life.made.size)
            continue
        names = [event.name for event in life.made.within[1:]]
        trace.labels[storage] = Label(None, " ".join(names[-3:]))
        timed += [(change, storage) for change in life if change is not None]
    for change, storage in sorted(timed, key=lambda pair: pair[0].time):
        trace.sections[change.section].events.append(Event(storage, change.size, None))
    return Recorded(trace, dict(workspaces))


def _lifetimes(events: list[Any]) -> Iterator[_Lifetime]:
    live: dict[int, _Change] = {}
    marked = [event for event in events if event.name.startswith(MARK)]
    for change in sorted(_changes(marked, ()), key=lambda c: c.time):
        if change.size > 0:
            if before := live.get(change.address):  # freed where nobody saw it
                yield _Lifetime(before, change._replace(size=-before.size))
            live[change.address] = change
        elif change.address in live:
            yield _Lifetime(live.pop(change.address), change)
    for made in live.values():
        yield _Lifetime(made, None)


def _changes(events: list[Any], within: tuple[Any, ...]) -> Iterator[_Change]:
    for event in events:
        if event.tag == _EventType.Allocation:
            fields = event.extra_fields
            if fields.device.type == "cpu":
                yield _Change(event.start_time_ns, fields.ptr, fields.alloc_size, within)
        else:
            yield from _changes(event.children, (*within, event))

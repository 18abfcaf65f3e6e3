"""Reads the allocations of a real step from torch's profiler, as a trace to compare with that of a replay."""

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
"""Prefix of the profiler's ranges that mark phases; the number of the phase follows."""

GENERATOR = "generator state"
"""Kind of workspace: the saved state of the CPU's random generator."""

GLOO = "gloo"
"""Kind of workspace: what gloo allocates within a collective."""

_COLLECTIVES = ("c10d::", "gloo:")
"""Prefixes of the profiler's ranges within which gloo allocates."""

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
"""Kinds of allocation of a CPU step that no replay shows, each with its reason.

Kernels allocate these for themselves and free them before they return, or torch allocates them on the host whatever the
device is. They are measured, and left out of the trace.
"""


class Marks:
    """Marks the phases of a step in the profiler's record.

    Attributes:
        phases: (phase, step) of every range that was marked, in order.
    """

    def __init__(self) -> None:
        self.phases: list[tuple[Phase, int]] = []
        self._open = ExitStack()

    def enter(self, phase: Phase, step: int) -> None:
        """Ends the present range and starts that of this phase."""
        self.close()
        self._open.enter_context(record_function(f"{MARK}{len(self.phases)}"))
        self.phases.append((phase, step))

    def close(self) -> None:
        """Ends the present range, if there is one."""
        self._open.close()


class Recorded(NamedTuple):
    """Holds the allocations of a real step."""

    trace: Trace
    """Allocations and frees in bytes as requested, without categories and blocks."""
    workspaces: dict[str, int]
    """Bytes of the largest single allocation of each kind in `WORKSPACES`; these are not in the trace."""


class _Change(NamedTuple):
    """Describes one allocation (`size` > 0) or free (`size` < 0) of the profiler's record."""

    time: int
    """Time of the event, in nanoseconds."""
    address: int
    size: int
    """Bytes that are allocated (> 0) or freed (< 0)."""
    within: tuple[Any, ...]
    """The profiler's ranges around it, from the outermost, which is the phase's, inwards."""

    @property
    def section(self) -> int:
        """Number of the phase in which it happens."""
        return int(self.within[0].name.removeprefix(MARK))


class _Lifetime(NamedTuple):
    """Pairs an allocation with its free, which is None if it is alive at the end of the record."""

    made: _Change
    freed: _Change | None

    @property
    def workspace(self) -> str | None:
        """Its kind in `WORKSPACES`; None if it belongs to the trace."""
        for event in self.made.within:
            if event.name.startswith(_COLLECTIVES):
                return GLOO
            if event.name in WORKSPACES and self.freed is not None and self.freed.time <= event.end_time_ns:
                return str(event.name)
        without_operator = not any(event.name.startswith("aten::") for event in self.made.within)
        return GENERATOR if without_operator and self.made.size == torch.get_rng_state().nbytes else None


def recorded(events: list[Any], phases: list[tuple[Phase, int]]) -> Recorded:
    """Collects the allocations in a profiler's event tree.

    Storages that are older than the record are left out. Only the thread that enters the phases counts: gloo's threads
    hold copies of their own, which they free late.

    Args:
        events: The roots of the profiler's event tree.
        phases: (phase, step) of every marked range, as in `Marks.phases`.
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
    """Pairs allocations and frees by address."""
    live: dict[int, _Change] = {}
    marked = [event for event in events if event.name.startswith(MARK)]
    for change in sorted(_changes(marked, ()), key=lambda c: c.time):
        if change.size > 0:
            if before := live.get(change.address):  # its free was not recorded
                yield _Lifetime(before, change._replace(size=-before.size))
            live[change.address] = change
        elif change.address in live:
            yield _Lifetime(live.pop(change.address), change)
    for made in live.values():
        yield _Lifetime(made, None)


def _changes(events: list[Any], within: tuple[Any, ...]) -> Iterator[_Change]:
    """Yields the allocations and frees of CPU memory in an event tree; `within` are the ranges around it."""
    for event in events:
        if event.tag == _EventType.Allocation:
            fields = event.extra_fields
            if fields.device.type == "cpu":
                yield _Change(event.start_time_ns, fields.ptr, fields.alloc_size, within)
        else:
            yield from _changes(event.children, (*within, event))

"""Defines the trace that a replay records: every allocation and free, with its phase, its block and its tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from planner.allocator.streams import Stream


class Scope(NamedTuple):
    """Identifies a place in a run of equal blocks: the `block`-th block (or period of blocks) of the `run`-th run."""

    run: int
    block: int


class Phase(StrEnum):
    """Names the phases of a process: loading the model, then those of each training step."""

    LOADING = "loading"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVALUATION = "evaluation"


class Event(NamedTuple):
    """Records one allocation (`size` > 0) or free (`size` < 0) of a storage. `EMPTY_CACHE` is the exception."""

    storage: int
    """Number of the storage, counted from 1 within the trace."""
    size: int
    """Signed bytes, rounded up to whole blocks of the device's allocator."""
    scope: Scope | None
    """Block of the model around which the event happens; None outside the runs of blocks."""


EMPTY_CACHE = Event(0, 0, None)
"""An event that is no allocation: the allocator returns its cached segments (`torch.cuda.empty_cache`)."""


class Label(NamedTuple):
    """Says what a storage holds."""

    category: str | None
    """Memory category; None if the storage's lifetime decides it (see `categories_of`)."""
    name: str
    """Name of a tensor, or the path of the module and the operator that allocated it."""
    stream: Stream = Stream.COMPUTE
    """Stream on which it was allocated."""
    shared: bool = False
    """Whether another stream used it as well (`record_stream`), so that its block is not free at once."""


class Section(NamedTuple):
    """Holds the events of one phase of one step, in order. Loading is step 0; training steps count from 1."""

    phase: Phase
    step: int
    events: list[Event]


class Work(NamedTuple):
    """Adds up what operators compute and move."""

    half_flops: int = 0
    """FLOPs, as `torch.utils.flop_counter` counts them, of operators whose result has less than 4 bytes per element."""
    fp32_flops: int = 0
    """FLOPs of the other operators."""
    num_bytes: int = 0
    """Bytes of the inputs and outputs of all operators that allocate a result."""
    fixed_bytes: int = 0
    """Of these, bytes of tensors whose size is no multiple of the number of samples."""
    again_half_flops: int = 0
    """Of `half_flops`, those that compute forward again within backward."""
    again_fp32_flops: int = 0
    """Of `fp32_flops`, those that compute forward again within backward."""
    kernels: int = 0
    """Number of operators that allocate a result or write in place."""

    def plus(self, other: Work, times: int = 1) -> Work:
        """Returns the sum of this work and `times` the other."""
        return Work(*(a + times * b for a, b in zip(self, other, strict=True)))


Place = tuple[int, Scope | None]
"""The index of a section in its trace, and the block within that section."""


class Trace(NamedTuple):
    """Holds a process's allocations and frees, from the loading of its first weight on, and its work."""

    sections: list[Section]
    """Phases in the order in which they ran; with accumulation, a step has several forward and backward sections."""
    labels: dict[int, Label]
    """What each storage holds, by the storage's number."""
    work: Mapping[Place, Work] = MappingProxyType({})
    """Work of each block in each section; empty for traces of real steps."""

    @property
    def last_step(self) -> int:
        """Number of the last step: the steady one, which reports are about."""
        return self.sections[-1].step

    def events(self) -> Iterator[Event]:
        """Yields the events of all sections in order."""
        for section in self.sections:
            yield from section.events

    @property
    def size(self) -> tuple[int, ...]:
        """The peaks of all phases, the largest first: by these, traces of several ranks are compared."""
        return tuple(sorted(self.peaks().values(), reverse=True))

    def peaks(self) -> dict[Phase, int]:
        """Returns the largest sum of live bytes in each phase of the last step; 0 for phases that it does not have."""
        now, found = 0, dict.fromkeys(Phase, 0)
        for section in self.sections:
            last = section.step == self.last_step
            peak = now
            for _, size, _ in section.events:
                now += size
                peak = max(peak, now)
            if last:
                found[section.phase] = max(found[section.phase], peak)
        return found

"""What a replay records: every allocation and free, in which phase, around which block of the model, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Scope(NamedTuple):
    """A place in a run of equal blocks: the `block`-th block (or period of blocks) of the `run`-th run."""

    run: int
    block: int


class Phase(StrEnum):
    LOADING = "loading"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVALUATION = "evaluation"


class Event(NamedTuple):
    """One allocation (`size` > 0) or free (`size` < 0) of a storage, in bytes rounded as the allocator rounds; see also
    `EMPTY_CACHE`."""

    storage: int
    size: int
    scope: Scope | None


EMPTY_CACHE = Event(0, 0, None)
"""No allocation: the cached segments are given back (`torch.cuda.empty_cache`)."""


class Label(NamedTuple):
    """What a storage is: its memory category (None: decided by its lifetime) and a name."""

    category: str | None
    name: str


class Section(NamedTuple):
    """The events of one phase of one step, in order. Loading belongs to step 0, steps count from 1."""

    phase: Phase
    step: int
    events: list[Event]


class Work(NamedTuple):
    """What operators compute and move: FLOPs of matrix products by the item size of their results, bytes of all."""

    half_flops: int = 0
    fp32_flops: int = 0
    num_bytes: int = 0

    def plus(self, other: Work, times: int = 1) -> Work:
        return Work(*(a + times * b for a, b in zip(self, other, strict=True)))


Place = tuple[int, Scope | None]
"""A section by its number, and the block in it."""


class Trace(NamedTuple):
    """A process's allocations from its first weight on, and its work."""

    sections: list[Section]
    labels: dict[int, Label]
    work: Mapping[Place, Work] = MappingProxyType({})

    @property
    def last_step(self) -> int:
        return self.sections[-1].step

    def events(self) -> Iterator[Event]:
        for section in self.sections:
            yield from section.events

    def peaks(self) -> dict[Phase, int]:
        """The largest sum of live bytes in each phase of the last step."""
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

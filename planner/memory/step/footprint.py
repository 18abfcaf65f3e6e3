"""One strategy's memory on one rank: what stays, the lines of each moment, and the largest micro-batch within them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.step.process import Outside, Slack
from planner.memory.step.step import Line, Lines, Moment


class Persistent(NamedTuple):
    """Bytes that one rank keeps for the whole run."""

    parameters: int
    optimizer_states: int
    communication: int

    @property
    def total(self) -> int:
        return self.parameters + self.optimizer_states + self.communication


class Peak(NamedTuple):
    """The largest instant of a step at one micro-batch: which moment, which line of it, and its tensors' bytes."""

    moment: Moment
    line: Line
    tensor_bytes: int


class Footprint(NamedTuple):
    """One strategy's memory on one rank, for every micro-batch: per moment the lines that can be its peak."""

    persistent: Persistent
    lines: Lines
    outside: Outside
    slack: Slack
    lines_of: Callable[[int], Lines] | None = None
    """Where they change with the micro-batch, by steps; `lines` are then those of one sample."""

    def lines_at(self, micro_batch_size: int) -> Lines:
        return self.lines if self.lines_of is None else self.lines_of(micro_batch_size)

    def moments(self, micro_batch_size: int) -> dict[Moment, int]:
        """Allocated bytes at the peak of each moment, cuBLAS workspaces included."""
        extra, found = self.persistent.total + self.outside.workspace_bytes, self.lines_at(micro_batch_size)
        return {m: extra + max(line.at(micro_batch_size) for line in lines) for m, lines in found.items()}

    def peak(self, micro_batch_size: int) -> Peak:
        found = self.lines_at(micro_batch_size)
        candidates = ((line.at(micro_batch_size), m, line) for m, lines in found.items() for line in lines)
        size, moment, line = max(candidates, key=lambda c: c[0])
        return Peak(moment, line, size + self.persistent.total)

    def allocated_bytes(self, micro_batch_size: int) -> int:
        """What `torch.cuda.max_memory_allocated` would report."""
        return self.peak(micro_batch_size).tensor_bytes + self.outside.workspace_bytes

    def reserved_bytes(self, micro_batch_size: int) -> int:
        """What has to be reserved for the step to run; an estimate."""
        return self.slack.reserved_bytes(self.allocated_bytes(micro_batch_size))

    def process_bytes(self, micro_batch_size: int) -> int:
        """What the GPU has less while the process runs."""
        return self.outside.process_bytes(self.reserved_bytes(micro_batch_size))

    def largest_micro_batch(self, budget_bytes: int) -> int:
        """The largest micro-batch whose process fits into the budget; 0 if one sample does not. Every line gives a
        bound and the smallest bound holds: nothing is scanned. Where lines change by steps, the answer is bisected."""
        allocated = self.slack.allocated_within(self.outside.reserved_within(budget_bytes))
        room = allocated - self.outside.workspace_bytes - self.persistent.total
        if self.lines_of is None:
            return _largest(self.lines, room)
        least, most = 0, 1
        while _largest(self.lines_of(most), room) >= most:
            least, most = most, 2 * most
        while most - least > 1:
            middle = (least + most) // 2
            fits = _largest(self.lines_of(middle), room) >= middle
            least, most = (middle, most) if fits else (least, middle)
        return least


def _largest(found: Lines, room: int) -> int:
    bounds = [(room - line.fixed) // (line.per_sample or 1) for lines in found.values() for line in lines]
    return max(0, min(bounds))

"""Holds one strategy's memory on one rank, and solves it for the largest micro-batch that fits into a budget."""

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.sharding.persistent import Persistent
from planner.memory.step.host import Host
from planner.memory.step.loading import Loaded
from planner.memory.step.process import Outside, Slack
from planner.memory.step.step import Line, Lines, Moment


class Peak(NamedTuple):
    """The largest instant of a step at one micro-batch size."""

    moment: Moment
    line: Line
    """The line of that moment that is the largest at this micro-batch size."""
    tensor_bytes: int
    """Allocated bytes, including what persists, but not cuBLAS workspaces."""


class Footprint(NamedTuple):
    """One strategy's memory on one rank as a function of the micro-batch size, in samples."""

    persistent: Persistent
    lines: Lines
    """For each moment the lines that can be its peak, without what persists."""
    outside: Outside
    slack: Slack
    lines_of: Callable[[int], Lines] | None = None
    """Lines by micro-batch size, where they change with it in steps (a fused loss has chunks); None where `lines` hold
    for every size. `lines` are then those of one sample."""
    host: Host = Host()
    """Host memory of the rank's node."""
    loading: Loaded = Loaded()
    """What loading takes, where it is not decided yet whether that is on the GPU or on the host."""

    def on(self, outside: Outside, host_bytes: int) -> "Footprint":
        """Returns the footprint with what a GPU adds, in a node with so much host memory."""
        slack = self.slack._replace(persistent_bytes=self.persistent.total + outside.workspace_bytes)
        return self._replace(outside=outside, slack=slack, host=self.host._replace(limit_bytes=host_bytes))

    def loaded_within(self, budget_bytes: int) -> "Footprint":
        """Returns the footprint with the whole model on the GPU while it is loaded, or on the host where that is over.

        Args:
            budget_bytes: Bytes of GPU memory that the process may take.
        """
        peak, instead = self.loading.gpu_bytes, self.loading.instead_bytes
        if not peak:
            return self
        if instead and self.process_bytes_of(peak + self.outside.workspace_bytes) > budget_bytes:
            return self._replace(loading=Loaded(), host=self.host._replace(loading=self.host.ranks * instead))
        beside = peak - self.persistent.total
        loaded: Lines = {Moment.LOADING: (Line(beside, 0, 0, 0, 0, beside, 0),)}
        of_size = self.lines_of
        stepped = None if of_size is None else lambda size: loaded | of_size(size)
        return self._replace(loading=Loaded(), lines=loaded | self.lines, lines_of=stepped)

    def lines_at(self, micro_batch_size: int) -> Lines:
        """Returns the lines that hold at a micro-batch size."""
        return self.lines if self.lines_of is None else self.lines_of(micro_batch_size)

    def moments(self, micro_batch_size: int) -> dict[Moment, int]:
        """Returns the allocated bytes at the peak of each moment, including cuBLAS workspaces."""
        extra, found = self.persistent.total + self.outside.workspace_bytes, self.lines_at(micro_batch_size)
        return {m: extra + max(line.at(micro_batch_size) for line in lines) for m, lines in found.items()}

    def peak(self, micro_batch_size: int) -> Peak:
        """Returns the largest instant of a step."""
        found = self.lines_at(micro_batch_size)
        candidates = ((line.at(micro_batch_size), m, line) for m, lines in found.items() for line in lines)
        size, moment, line = max(candidates, key=lambda c: c[0])
        return Peak(moment, line, size + self.persistent.total)

    def allocated_bytes(self, micro_batch_size: int) -> int:
        """Returns the bytes that `torch.cuda.max_memory_allocated` would report."""
        return self.peak(micro_batch_size).tensor_bytes + self.outside.workspace_bytes

    def reserved_bytes(self, micro_batch_size: int) -> int:
        """Returns an estimate of the bytes that the caching allocator has to reserve for the step to run."""
        return self.slack.reserved_bytes(self.allocated_bytes(micro_batch_size))

    def process_bytes(self, micro_batch_size: int) -> int:
        """Returns the bytes of GPU memory that the process takes, including context and communicator."""
        return self.process_bytes_of(self.allocated_bytes(micro_batch_size))

    def process_bytes_of(self, allocated_bytes: int) -> int:
        """Returns the bytes of GPU memory that the process takes where so much is allocated at the peak."""
        return self.outside.process_bytes(self.slack.reserved_bytes(allocated_bytes))

    def largest_micro_batch(self, budget_bytes: int) -> int:
        """Returns the largest micro-batch, in samples, whose process fits into a budget; 0 if one sample does not fit.

        The node's host memory has to suffice as well.

        Args:
            budget_bytes: Bytes of GPU memory that the process may take.
        """
        return self.host.largest_micro_batch(self._largest_on_gpu(budget_bytes))

    def _largest_on_gpu(self, budget_bytes: int) -> int:
        """Returns the largest micro-batch, in samples, whose process fits into a budget of GPU memory.

        Every line gives an upper bound and the smallest bound is the answer, so nothing is scanned. Where lines change
        in steps, the answer is found by bisection.
        """
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
    """Returns the largest micro-batch at which every line is at most `room` bytes; 0 if there is none."""
    bounds = [(room - line.fixed) // (line.per_sample or 1) for lines in found.values() for line in lines]
    return max(0, min(bounds))

"""Serves a trace of several streams: a cached block serves only the stream on which it was allocated first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from planner.allocator.native import Block, CachingAllocator, OutOfMemoryError
from planner.allocator.streams import Stream

IN_FLIGHT = 2
"""Units that may have been freed, but not yet passed by the GPU, when FSDP1 gathers another one.

Blocks that two streams use serve nobody until the GPU has passed their end (CUDACachingAllocator.cpp, `insert_events`).
FSDP1 waits for the oldest end of a gathered unit where there are this many (torch/distributed/fsdp/_limiter_utils.py,
`_FreeEventQueue`). A GPU that is ahead of Python passes them earlier.
"""


class StreamedAllocator:
    """Gives every stream an allocator of the same kind, which share a limit.

    Args:
        compute: The allocator of the compute stream, with the limit of all.
        place: Returns, for a storage, the stream on which it is allocated, and whether another one uses it as well
            (`record_stream`).

    Attributes:
        allocated: Bytes in allocated blocks, of all streams.
        peak_allocated: The largest `allocated` since the start or the last `reset_peaks`.
        reserved: Bytes in segments, of all streams.
        peak_reserved: The largest `reserved` since the start or the last `reset_peaks`.
    """

    def __init__(self, compute: CachingAllocator, place: Callable[[int], tuple[Stream, bool]]) -> None:
        self.limit_bytes, self._place = compute.limit_bytes, place
        self._parts = {Stream.COMPUTE: compute}
        self._waiting: list[tuple[Stream, Block]] = []
        """Blocks that were freed and wait for the GPU, oldest first."""
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = 0

    @property
    def retries(self) -> int:
        """How often free segments were returned to serve a request."""
        return sum(part.retries for part in self._parts.values())

    def reset_peaks(self) -> None:
        """Sets the peaks to the present bytes."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def catch_up(self) -> None:
        """Makes all freed blocks usable, as when Python waits for the GPU."""
        self._recycle(0)

    def run(self, trace: Iterable[tuple[int, int]]) -> None:
        """Serves the requests of a trace, or of the next part of one, as `CachingAllocator.run` does.

        Raises:
            OutOfMemoryError: A request does not fit.
        """
        for storage, size in trace:
            if not storage:
                self._give_back()
            else:
                self._serve(storage, size)
            self.allocated = sum(part.allocated for part in self._parts.values())
            self.reserved = sum(part.reserved for part in self._parts.values())
            self.peak_allocated = max(self.peak_allocated, self.allocated)
            self.peak_reserved = max(self.peak_reserved, self.reserved)

    def _serve(self, storage: int, size: int) -> None:
        stream, shared = self._place(storage)
        if stream not in self._parts:
            self._parts[stream] = type(self._parts[Stream.COMPUTE])()
        part = self._parts[stream]
        if size < 0 and shared:
            self._waiting.append((stream, part.retire(storage)))
            return
        if stream is Stream.GATHER and size > 0:
            self._recycle(IN_FLIGHT - 1)
        self._share(part)
        try:
            part.run([(storage, size)])
        except OutOfMemoryError:
            self._give_back()
            self._share(part)
            part.run([(storage, size)])

    def _recycle(self, units: int) -> None:
        """Makes blocks usable, oldest first, until so many gathered units are left among those that wait."""
        gathered = sum(stream is Stream.GATHER for stream, _ in self._waiting)
        while gathered > units or (self._waiting and not units):
            stream, block = self._waiting.pop(0)
            self._parts[stream].recycle(block)
            gathered -= stream is Stream.GATHER

    def _share(self, part: CachingAllocator) -> None:
        """Limits one stream to what the others have not reserved."""
        if self.limit_bytes is not None:
            others = sum(other.reserved for other in self._parts.values() if other is not part)
            part.limit_bytes = self.limit_bytes - others

    def _give_back(self) -> None:
        self.catch_up()
        for part in self._parts.values():
            part.run([(0, 0)])

"""Serves a trace of several streams: a cached block serves only the stream on which it was allocated first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from planner.allocator.block import Block
from planner.allocator.native import CachingAllocator, OutOfMemoryError
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
        places: The stream on which each storage is allocated, and whether another one uses it as well
            (`record_stream`); a storage that is not listed is on the compute stream alone.

    Attributes:
        peak_allocated: The largest bytes in allocated blocks, of all streams, since the start or `reset_peaks`.
        peak_reserved: The same of bytes in segments.
    """

    def __init__(self, compute: CachingAllocator, places: Mapping[int, tuple[Stream, bool]]) -> None:
        self.limit_bytes, self._places, self._compute = compute.limit_bytes, places, compute
        self._parts = {Stream.COMPUTE: compute}
        self._waiting: list[tuple[int, Stream, Block]] = []
        """Storages whose blocks were freed and wait for the GPU, oldest first."""
        self.peak_allocated = self.peak_reserved = 0

    @property
    def allocated(self) -> int:
        """Bytes in allocated blocks, of all streams."""
        return sum(part.allocated for part in self._parts.values())

    @property
    def reserved(self) -> int:
        """Bytes in segments, of all streams."""
        return sum(part.reserved for part in self._parts.values())

    @property
    def retries(self) -> int:
        """How often free segments were returned to serve a request."""
        return sum(part.retries for part in self._parts.values())

    def reset_peaks(self) -> None:
        """Sets the peaks to the present bytes."""
        self._compute.reset_peaks()
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def catch_up(self) -> None:
        """Makes all freed blocks usable, as when Python waits for the GPU."""
        self._recycle(0)

    def run(self, trace: Iterable[tuple[int, int]]) -> None:
        """Serves the requests of a trace, or of the next part of one, as `CachingAllocator.run` does.

        (storage, 0) says that the GPU has passed the end of a storage that was freed and that another stream used.

        Raises:
            OutOfMemoryError: A request does not fit.
        """
        compute, places = self._compute, self._places
        self._share(compute)
        try:
            for storage, size in trace if places else ():
                if storage in places or not storage:
                    self._count()
                    self._serve(storage, size)
                    self._share(compute)
                elif size < 0:
                    compute.drop(storage)
                else:
                    self._take(compute, storage, size)
            if not places:
                compute.run(trace)
        finally:
            self._count()

    def _serve(self, storage: int, size: int) -> None:
        """Serves a request that is not of the compute stream alone."""
        if not storage:
            self._give_back()
            return
        stream, shared = self._places[storage]
        if not size:
            self._pass(storage)
            return
        if stream not in self._parts:
            self._parts[stream] = type(self._compute)()
        part = self._parts[stream]
        if size < 0:
            if shared:
                self._waiting.append((storage, stream, part.retire(storage)))
            else:
                part.drop(storage)
            return
        if stream is Stream.GATHER:
            self._recycle(IN_FLIGHT - 1)
        self._share(part)
        self._take(part, storage, size)
        self._count()

    def _take(self, part: CachingAllocator, storage: int, size: int) -> None:
        """Serves a request on one stream, if need be after all of them have given back what is free."""
        try:
            part.take(storage, size)
        except OutOfMemoryError:
            self._count()
            self._give_back()
            self._share(part)
            part.take(storage, size)

    def _count(self) -> None:
        """Counts what the compute stream has reached in addition to what the others have."""
        compute = self._compute
        self.peak_allocated = max(self.peak_allocated, self.allocated - compute.allocated + compute.peak_allocated)
        self.peak_reserved = max(self.peak_reserved, self.reserved - compute.reserved + compute.peak_reserved)
        compute.reset_peaks()

    def _recycle(self, units: int) -> None:
        """Makes blocks usable, oldest first, until `units` gathered units are left among those that wait."""
        gathered = sum(stream is Stream.GATHER for _, stream, _ in self._waiting)
        while gathered > units or (self._waiting and not units):
            _, stream, block = self._waiting.pop(0)
            self._parts[stream].recycle(block)
            gathered -= stream is Stream.GATHER

    def _pass(self, storage: int) -> None:
        """Makes the block of a storage usable, if it waits."""
        for place, (waiting, stream, block) in enumerate(self._waiting):
            if waiting == storage:
                del self._waiting[place]
                self._parts[stream].recycle(block)
                return

    def _share(self, part: CachingAllocator) -> None:
        """Limits one stream to what the others have not reserved."""
        if self.limit_bytes is not None:
            others = sum(other.reserved for other in self._parts.values() if other is not part)
            part.limit_bytes = self.limit_bytes - others

    def _give_back(self) -> None:
        self.catch_up()
        for part in self._parts.values():
            part.run([(0, 0)])
        self._compute.reset_peaks()

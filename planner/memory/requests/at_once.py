"""Serves the requests of a process by native segments while they are made, on numbers alone.

This does what `planner.allocator.native` and `streamed` do, without blocks that one can look at, in half of the time. A
storage is the number of its block: its size and its address, as in the allocator's pools. Tests hold the two against
each other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from planner.allocator.native import (
    ADDRESS_BITS,
    FIRST_ADDRESS,
    SMALL,
    SMALLEST_REMAINDER,
    CachingAllocator,
    OutOfMemoryError,
    segment_bytes,
)
from planner.allocator.streamed import IN_FLIGHT
from planner.allocator.streams import Stream
from planner.memory.autograd.storage import FINISHED, Logged
from planner.memory.requests.requests import Requests

ADDRESS = (1 << ADDRESS_BITS) - 1
GAP = SMALLEST_REMAINDER
"""Bytes between segments, so that blocks of two of them are never neighbours."""
SMALL_END = (SMALL + 1) << ADDRESS_BITS
"""Numbers of blocks in use below this belong to the small pool."""
LARGE_REST, SMALL_REST = CachingAllocator.smallest_rests

Pools = tuple[list[int], list[int]]
"""Free blocks of the small and of the large pool of a stream, each as one number: size, then address."""
Finish = Callable[[int, int], None]
Compiled = tuple[tuple[int, int, int], ...]
"""A storage's number in a log; the first place in a pool that can serve it, or -1 where it becomes a gradient; and its
bytes, or which gradient it is."""


class ServedAtOnce(Requests):
    """Serves each request when it is made.

    Args:
        limit_bytes: Bytes that may be reserved; None for no limit.

    Attributes:
        allocated: Bytes in allocated blocks of all streams.
        peak_allocated: The largest of them since loading.
        reserved: Bytes in segments of all streams.
        peak_reserved: The largest of them.
        retries: How often free segments were returned to serve a request.
    """

    def __init__(self, limit_bytes: int | None) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = self.retries = 0
        self._pools: dict[Stream, Pools] = {stream: ([], []) for stream in Stream}
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        """The free blocks, by their first address and by the one behind them."""
        self._segments: dict[int, int] = {}
        """Bytes of each segment, by its first address."""
        self._next_address = FIRST_ADDRESS
        self._has_streams = False
        """Whether other streams than that of computation have been used."""
        self._waiting: list[tuple[Stream, int]] = []
        """Blocks that were freed and wait for the GPU, oldest first."""
        self._compiled: dict[int, tuple[Iterable[Logged], Compiled]] = {}
        """Logs by their identity, which is theirs as long as they are kept here."""

    @property
    def peaks(self) -> tuple[int, int]:
        """The largest bytes in allocated blocks since loading, and in segments."""
        return self.peak_allocated, self.peak_reserved

    def serves(self, run: Iterable[None]) -> bool:
        """Runs a process that makes these requests, and returns whether all of them fit."""
        try:
            for _ in run:
                pass
        except OutOfMemoryError:
            return False
        return True

    def allocate(self, num_bytes: int, stream: Stream = Stream.COMPUTE, *, shared: bool = False) -> int:
        """Serves a request and returns the number of its block; 0 for no bytes.

        Raises:
            OutOfMemoryError: It does not fit.
        """
        if not num_bytes:
            return 0
        if stream is Stream.GATHER:
            self._recycle(IN_FLIGHT - 1)
        names: dict[int, int] = {}
        self._serve(_compiled(((1, num_bytes, 0),), 0), names, _nothing, self._pools[stream])
        if stream is not Stream.COMPUTE or shared:
            self.streams[names[1]], self._has_streams = (stream, shared), True
        return names[1]

    def keep(self, sizes: Iterable[int]) -> None:
        """Serves the requests for storages that stay.

        Raises:
            OutOfMemoryError: One does not fit.
        """
        logged = [(number, num_bytes, 0) for number, num_bytes in enumerate(sizes, start=1)]
        self._serve(_compiled(logged, 0), {}, _nothing, self._pools[Stream.COMPUTE])

    def release(self, storage: int) -> None:
        """Ends one owner's use of a block, and frees it if there is no other owner."""
        if not storage:
            return
        stream, shared = Stream.COMPUTE, False
        if storage in self.streams and storage not in self._others:
            stream, shared = self.streams.pop(storage)
        if shared:
            self.allocated -= storage >> ADDRESS_BITS
            self._waiting.append((stream, storage))
        else:
            self._serve(_RELEASE, {1: storage}, _nothing, self._pools[stream])

    def size_of(self, storage: int) -> int:
        """Returns the bytes that were asked for, of a block in use."""
        return self._sizes.get(storage, storage >> ADDRESS_BITS)

    def end_loading(self) -> None:
        """Counts the peak of allocated bytes from here on."""
        self.peak_allocated = self.allocated

    def wait(self) -> None:
        """Makes all freed blocks usable."""
        self._recycle(0)

    def play(self, logged: Iterable[Logged], names: dict[int, int], micro_batch_size: int, finish: Finish) -> None:
        """Serves the requests of a log, all of one micro-batch size, except for those of storages that exist.

        Raises:
            OutOfMemoryError: One does not fit.
        """
        if id(logged) not in self._compiled:
            self._compiled[id(logged)] = logged, _compiled(logged, micro_batch_size)
        self._serve(self._compiled[id(logged)][1], names, finish, self._pools[Stream.COMPUTE])

    def _serve(self, compiled: Compiled, names: dict[int, int], finish: Finish, pools: Pools) -> None:
        """Serves requests in one loop, which is written without calls, since it runs tens of thousands of times."""
        (small, large), others, sizes = pools, self._others, self._sizes
        starts, ends, allocated, peak = self._starts, self._ends, self.allocated, self.peak_allocated
        try:
            for number, place, num_bytes in compiled:
                if number < 0:
                    block = names.pop(-number, 0)
                    if block in others:
                        if others[block] == 1:
                            del others[block]
                        else:
                            others[block] -= 1
                    elif block:
                        pool = small if block < SMALL_END else large
                        size, first = block >> ADDRESS_BITS, block & ADDRESS
                        allocated -= size
                        end = first + size
                        if end in starts:
                            after = starts.pop(end)
                            del pool[bisect_left(pool, after)]
                            end += after >> ADDRESS_BITS
                        if first in ends:
                            before = ends.pop(first)
                            del pool[bisect_left(pool, before)]
                            first = before & ADDRESS
                        free = (end - first) << ADDRESS_BITS | first
                        insort(pool, free)
                        starts[first] = ends[end] = free
                elif place < 0:
                    self.allocated, self.peak_allocated = allocated, peak
                    finish(names.pop(number, 0), num_bytes)
                    allocated, peak = self.allocated, self.peak_allocated
                elif number not in names:
                    if not place:
                        names[number] = 0
                        continue
                    pool, smallest = (small, SMALL_REST) if place < SMALL_END else (large, LARGE_REST)
                    index = bisect_left(pool, place)
                    if index == len(pool):
                        self._map(place, pool, pools)
                        index = bisect_left(pool, place)
                    block = pool.pop(index)
                    first, size = block & ADDRESS, place >> ADDRESS_BITS
                    del starts[first]
                    rest = (block >> ADDRESS_BITS) - size
                    if rest >= smallest:
                        start = first + size
                        free = rest << ADDRESS_BITS | start
                        insort(pool, free)
                        starts[start] = ends[start + rest] = free
                        block = place | first
                    else:
                        size += rest
                        del ends[first + size]
                    allocated += size
                    if allocated > peak:
                        peak = allocated
                    names[number] = block
                    if size != num_bytes:
                        sizes[block] = num_bytes
                    elif block in sizes:
                        del sizes[block]
        finally:
            self.allocated, self.peak_allocated = allocated, max(peak, self.peak_allocated)

    def _map(self, place: int, pool: list[int], pools: Pools) -> None:
        """Adds a segment for a request to a pool, unless blocks that waited serve it, or raises OutOfMemoryError."""
        size, limit = place >> ADDRESS_BITS, self.limit_bytes
        num_bytes = segment_bytes(size)
        if limit is not None and self.reserved + num_bytes > limit:
            self.retries += 1
            self._give_back(pools)
            if self.reserved + num_bytes > limit and self._has_streams:
                self._recycle(0)
                for others in self._pools.values():
                    self._give_back(others)
                if bisect_left(pool, place) < len(pool):
                    return
                self.retries += self.reserved + num_bytes > limit
            if self.reserved + num_bytes > limit:
                raise OutOfMemoryError(f"{size} bytes cannot be reserved beside {self.reserved} of {limit}")
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        self._next_address -= num_bytes + GAP
        first = self._next_address
        self._segments[first] = num_bytes
        block = num_bytes << ADDRESS_BITS | first
        self._starts[first] = self._ends[first + num_bytes] = block
        insort(pool, block)

    def _give_back(self, pools: Pools) -> None:
        """Returns the segments of a stream that are wholly free."""
        starts, segments = self._starts, self._segments
        for pool in pools:
            for block in pool:
                first, size = block & ADDRESS, block >> ADDRESS_BITS
                if segments.get(first) == size:
                    self.reserved -= size
                    del segments[first], starts[first], self._ends[first + size]
            pool[:] = [block for block in pool if block & ADDRESS in starts]

    def _recycle(self, units: int) -> None:
        """Makes blocks usable, oldest first, until so many gathered units are left among those that wait."""
        gathered = sum(stream is Stream.GATHER for stream, _ in self._waiting)
        while gathered > units or (self._waiting and not units):
            stream, block = self._waiting.pop(0)
            self.allocated += block >> ADDRESS_BITS  # it was counted as released when it was freed
            self._serve(_RELEASE, {1: block}, _nothing, self._pools[stream])
            gathered -= stream is Stream.GATHER


def _compiled(logged: Iterable[Logged], micro_batch_size: int) -> Compiled:
    """Returns a log with the bytes of each allocation, and the first place in a pool that can serve them."""
    entries = []
    for number, fixed, per_sample in logged:
        if fixed == FINISHED:
            entries.append((number, -1, per_sample))
            continue
        num_bytes = fixed + per_sample * micro_batch_size
        rounded = -(-num_bytes // SMALLEST_REMAINDER) * SMALLEST_REMAINDER
        entries.append((number, rounded << ADDRESS_BITS, num_bytes))
    return tuple(entries)


_RELEASE: Compiled = ((-1, 0, 0),)


def _nothing(_: int, __: int) -> None:
    """Takes a gradient, where there is none."""

"""Serves requests by native segments, on numbers alone: one for each block, its size and its address.

This does what `planner.allocator.native` and `streamed` do, without blocks that one can look at, in half of the time.
Tests hold the two against each other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from planner.allocator.native import (
    ADDRESS_BITS,
    FIRST_ADDRESS,
    SMALL,
    SMALLEST_REMAINDER,
    CachingAllocator,
    OutOfMemoryError,
    segment_bytes,
)
from planner.allocator.streams import Stream

ADDRESS = (1 << ADDRESS_BITS) - 1
GAP = SMALLEST_REMAINDER
"""Bytes between segments, so that blocks of two of them are never neighbours."""
SMALL_END = (SMALL + 1) << ADDRESS_BITS
"""Numbers of blocks in use below this belong to the small pool."""
LARGE_REST, SMALL_REST = CachingAllocator.smallest_rests

Pools = tuple[list[int], list[int]]
"""Free blocks of the small and of the large pool of a stream, each as one number: size, then address."""
Finish = Callable[[int, int], None]
Entry = tuple[int, int, int, int]
"""A storage's number in a log; the first place in a pool that can serve it, 0 where it is released, or -1 where it
becomes a gradient; the bytes that serve it; and those of them that were not asked for, or which gradient it is."""


class InterferenceError(Exception):
    """Reports that free segments were returned where that was taken not to happen."""


class Heap:
    """Holds the blocks of all streams.

    Args:
        limit_bytes: Bytes that may be reserved; None for no limit.

    Attributes:
        pools: The free blocks of each stream.
        compute: Those of the stream of computation.
        owners: How many owners a block in use has besides one; blocks of a single owner are not listed.
        unused: Bytes of blocks in use that were not asked for; blocks without such are not listed.
        waiting: Blocks that were freed and wait for the GPU, oldest first.
        passed: How many blocks have waited, and do no more.
        has_streams: Whether other streams than that of computation have been used.
        guarded: Whether InterferenceError is raised before free segments are returned.
        allocated: Bytes in allocated blocks of all streams.
        peak_allocated: The largest of them since it was last set.
        reserved: Bytes in segments of all streams.
        peak_reserved: The largest of them.
        retries: How often free segments were returned to serve a request.
        maps: How many segments there have been; no others are returned but to have one more.
    """

    def __init__(self, limit_bytes: int | None) -> None:
        self.limit_bytes = limit_bytes
        self.pools: dict[Stream, Pools] = {stream: ([], []) for stream in Stream}
        self.compute = self.pools[Stream.COMPUTE]
        self.owners: dict[int, int] = {}
        self.unused: dict[int, int] = {}
        self.waiting: list[tuple[Stream, int]] = []
        self.has_streams = self.guarded = False
        self.passed = 0
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = self.retries = self.maps = 0
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        """The free blocks, by their first address and by the one behind them."""
        self._segments: dict[int, int] = {}
        """Bytes of each segment, by its first address."""
        self._next_address = FIRST_ADDRESS

    def serve(self, entries: tuple[Entry, ...], names: dict[int, int], finish: Finish, pools: Pools) -> None:
        """Serves requests in one loop, which is written without calls, since it runs tens of thousands of times.

        Args:
            entries: The requests.
            names: The blocks that are in use, by their numbers in the requests.
            finish: Takes the block of a gradient, and which it is.
            pools: Those of the stream.

        Raises:
            OutOfMemoryError: A request does not fit.
        """
        (small, large), owners, unused, pop = pools, self.owners, self.unused, names.pop
        starts, ends, allocated, peak = self._starts, self._ends, self.allocated, self.peak_allocated
        try:
            for number, place, size, more in entries:
                if place > 0:
                    if place < SMALL_END:
                        pool, smallest = small, SMALL_REST
                    else:
                        pool, smallest = large, LARGE_REST
                    index = bisect_left(pool, place)
                    if index == len(pool):
                        self._map(place, pool, pools)
                        index = bisect_left(pool, place)
                    block = pool.pop(index)
                    first = block & ADDRESS
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
                        more += rest
                        del ends[first + size]
                    allocated += size
                    if allocated > peak:
                        peak = allocated
                    names[number] = block
                    if more:
                        unused[block] = more
                    elif block in unused:
                        del unused[block]
                elif not place:
                    block = pop(number, 0)
                    if block in owners:
                        if owners[block] == 1:
                            del owners[block]
                        else:
                            owners[block] -= 1
                    elif block > 0:
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
                else:
                    self.allocated, self.peak_allocated = allocated, peak
                    finish(pop(number, 0), more)
                    allocated, peak = self.allocated, self.peak_allocated
        finally:
            self.allocated, self.peak_allocated = allocated, max(peak, self.peak_allocated)

    def recycle(self, units: int) -> None:
        """Makes blocks usable, oldest first, until so many gathered units are left among those that wait."""
        gathered = sum(stream is Stream.GATHER for stream, _ in self.waiting)
        while gathered > units or (self.waiting and not units):
            gathered -= self._recycle_oldest() is Stream.GATHER

    def recycle_until(self, number: int) -> None:
        """Makes blocks usable, oldest first, until so many have been since the start."""
        while self.waiting and self.passed < number:
            self._recycle_oldest()

    def _recycle_oldest(self) -> Stream:
        """Makes the block usable that has waited longest, and returns its stream."""
        stream, block = self.waiting.pop(0)
        self.passed += 1
        self.allocated += block >> ADDRESS_BITS  # it was counted as released when it was freed
        self.serve(RELEASE, {1: block}, nothing, self.pools[stream])
        return stream

    def _map(self, place: int, pool: list[int], pools: Pools) -> None:
        """Adds a segment for a request to a pool, unless blocks that waited serve it, or raises OutOfMemoryError."""
        size, limit = place >> ADDRESS_BITS, self.limit_bytes
        num_bytes = segment_bytes(size)
        if limit is not None and self.reserved + num_bytes > limit:
            if self.guarded:
                raise InterferenceError
            self.retries += 1
            self._give_back(pools)
            if self.reserved + num_bytes > limit and self.has_streams:
                self.recycle(0)
                for others in self.pools.values():
                    self._give_back(others)
                if bisect_left(pool, place) < len(pool):
                    return
                self.retries += self.reserved + num_bytes > limit
            if self.reserved + num_bytes > limit:
                raise OutOfMemoryError(f"{size} bytes cannot be reserved beside {self.reserved} of {limit}")
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        self.maps += 1
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


RELEASE: tuple[Entry, ...] = ((1, 0, 0, 0),)
"""Frees the storage with the number 1."""


def allocation(number: int, num_bytes: int) -> Entry:
    """Returns the entry of a request for bytes, of which there are some."""
    rounded = -(-num_bytes // SMALLEST_REMAINDER) * SMALLEST_REMAINDER
    return number, rounded << ADDRESS_BITS, rounded, rounded - num_bytes


def nothing(_: int, __: int) -> None:
    """Takes a gradient, where there is none."""

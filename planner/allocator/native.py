"""Simulates CUDA's caching allocator on a trace of allocations and frees: the bytes that it reserves, and its blocks.

This is the native backend on one stream. Source: c10/cuda/CUDACachingAllocator.cpp: kSmallSize, kSmallBuffer,
kMinLargeAlloc, kLargeBuffer, kRoundLarge, `should_split`, `get_free_block`, `free_block`, `release_cached_blocks`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator

from hardware import PlannerError
from planner.allocator.block import Block

MIB = 2**20
SMALL = MIB
"""Largest request, in bytes, that is served from the small pool."""

SMALL_SEGMENT = 2 * MIB
"""Bytes of a segment of the small pool."""

LARGE_SEGMENT = 20 * MIB
"""Bytes of a segment for a request of the large pool below `SMALLEST_OWN_SEGMENT`."""

SMALLEST_OWN_SEGMENT = 10 * MIB
"""Smallest request, in bytes, that gets a segment of its own size."""

ROUND_LARGE = 2 * MIB
"""Bytes to whose multiple a segment for a single request is rounded up."""

SMALLEST_REMAINDER = 512
"""Bytes to whose multiple requests are rounded up; also the smallest rest that is split off a small block."""

FIRST_ADDRESS = 0x7F00_0000_0000
"""The address above the first segment: below 2^47, where processes have their memory and CUDA maps a GPU's.

Of equal free blocks the allocator takes the one at the lowest address, and on Linux the driver maps every new segment
below the older ones, as mmap does. This was seen in 14 LoRA runs on a T4: their reserved bytes are up to 9 % off with
rising addresses, and up to 1.4 % with falling ones.
"""


ADDRESS_BITS = 48
"""Bits of a place in a pool that hold an address: numbers are ordered by size, then by address, and compare faster than
pairs do."""


class OutOfMemoryError(PlannerError):
    """Reports a request that the allocator cannot serve within its limit."""


def segment_bytes(size: int) -> int:
    """Returns the bytes of a new segment for a request of `size` bytes."""
    if size <= SMALL:
        return SMALL_SEGMENT
    return LARGE_SEGMENT if size < SMALLEST_OWN_SEGMENT else -(-size // ROUND_LARGE) * ROUND_LARGE


Observer = Callable[[str, Block, int], None]
"""A function that is called with every action of an allocator, its block and its bytes.

Actions are named as in torch's memory snapshots. The bytes of `alloc` are those requested; those of a segment's
actions are the segment's, or, with expandable segments, those of the pages mapped or unmapped.
"""


def ignored(action: str, block: Block, size: int) -> None:
    """Does nothing; this is the default observer."""


class CachingAllocator:
    """Serves each request from the best-fitting cached block, or else from a new segment.

    Args:
        limit_bytes: The most bytes that the allocator can reserve; None for no limit. At the limit it returns the
            segments that are wholly free and tries again, as on a full device.
        observer: Called with everything that the allocator does.

    Attributes:
        allocated: Bytes in allocated blocks.
        peak_allocated: The largest `allocated` since the start or the last `reset_peaks`.
        reserved: Bytes in segments.
        peak_reserved: The largest `reserved` since the start or the last `reset_peaks`.
        retries: How often free segments were returned to serve a request.
    """

    smallest_rests = (SMALL + 1, SMALLEST_REMAINDER)
    """Bytes from which on the rest of a block of the large and of the small pool becomes a free block of its own."""

    def __init__(self, limit_bytes: int | None = None, observer: Observer = ignored) -> None:
        self.limit_bytes, self.observe, self._is_observed = limit_bytes, observer, observer is not ignored
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = self.retries = 0
        self._small: list[int] = []
        self._large: list[int] = []
        """Free blocks of the small and of the large pool, by size and address, each as one number (`ADDRESS_BITS`)."""
        self._free: dict[int, Block] = {}
        """The free blocks, by that number."""
        self._next_address = FIRST_ADDRESS
        self._heads: dict[int, Block] = {}
        """The first block of every segment, by address."""
        self._held: dict[int, Block] = {}
        """The blocks in use, by the number of their storage in the trace."""

    def run(self, trace: Iterable[tuple[int, int]]) -> None:
        """Serves the requests of a trace, or of the next part of one.

        Args:
            trace: (storage, +bytes) for an allocation, (storage, -bytes) for its free, (0, 0) for emptying the cache.

        Raises:
            OutOfMemoryError: A request does not fit.
        """
        held, allocate, recycle, is_observed = self._held, self.allocate, self.recycle, self._is_observed
        for storage, size in trace:
            if size > 0:
                held[storage] = allocate(size)
            elif size == 0:
                self._give_back()
            elif (block := held.pop(storage, None)) is not None:
                if is_observed:
                    self.observe("free", block, block.size)
                self.allocated -= block.size
                recycle(block)

    def take(self, storage: int, size: int) -> None:
        """Serves a request for a storage, as `run` does, or raises OutOfMemoryError."""
        self._held[storage] = self.allocate(size)

    def drop(self, storage: int) -> None:
        """Frees the block of a storage, as `run` does, if there is one."""
        if storage in self._held:
            self.recycle(self.retire(storage))

    def reset_peaks(self) -> None:
        """Sets the peaks to the present bytes, as `torch.cuda.reset_peak_memory_stats` does."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def allocate(self, size: int) -> Block:
        """Serves a request of `size` bytes.

        Returns:
            The allocated block, which can be larger than the request.

        Raises:
            OutOfMemoryError: The request does not fit, even after free segments have been returned.
        """
        size = -(-size // SMALLEST_REMAINDER) * SMALLEST_REMAINDER or SMALLEST_REMAINDER
        small = size <= SMALL
        block = self._cached(size, small) or self._mapped(size, small)
        if block.size - size >= self.smallest_rests[small]:
            self._cache(block.split(size))
        block.free = False
        self.allocated = allocated = self.allocated + block.size
        if allocated > self.peak_allocated:
            self.peak_allocated = allocated
        if self._is_observed:
            self.observe("alloc", block, size)
        return block

    def _mapped(self, size: int, small: bool) -> Block:
        """Returns a block of new memory, or raises OutOfMemoryError."""
        block = self._new(size, small)
        if block is None:
            self.retries += 1
            self._give_back()
            block = self._new(size, small)
        if block is None:
            raise OutOfMemoryError(
                f"{size} bytes cannot be reserved beside {self.reserved} of {self.limit_bytes}, "
                f"of which {self.allocated} are allocated"
            )
        return block

    def retire(self, storage: int) -> Block:
        """Frees the block of a storage that another stream may still use (`record_stream`), and returns it.

        It is not allocated any more, and serves nobody until `recycle` is called.
        """
        block = self._held.pop(storage)
        self.observe("free", block, block.size)
        self.allocated -= block.size
        return block

    def recycle(self, block: Block) -> None:
        """Joins a block that nobody uses with free neighbours and caches the result."""
        block.free = True
        after, before = block.next, block.previous
        if after is not None and after.free and after.mapped:
            self._forget(after)
            block.absorb_next()
        if before is not None and before.free and before.mapped:
            self._forget(before)
            block = before
            block.absorb_next()
        self._cache(block)

    def segments(self) -> Iterator[Block]:
        """Yields the first block of every segment, in the order of addresses."""
        yield from (self._heads[address] for address in sorted(self._heads))

    def _cached(self, size: int, small: bool) -> Block | None:
        """Removes the smallest sufficient free block from its pool and returns it; None if there is none."""
        pool = self._small if small else self._large
        place = bisect_left(pool, size << ADDRESS_BITS)
        return self._free.pop(pool.pop(place)) if place < len(pool) else None

    def _new(self, size: int, small: bool) -> Block | None:
        """Returns a new segment for a request; None if it would exceed the limit."""
        num_bytes = segment_bytes(size)
        if not self._reserve(num_bytes):
            return None
        self._next_address -= num_bytes
        segment = Block(num_bytes, self._next_address, small)
        self._heads[segment.address] = segment
        self.observe("segment_alloc", segment, num_bytes)
        return segment

    def _reserve(self, num_bytes: int) -> bool:
        """Counts bytes as reserved; returns False if they would exceed the limit."""
        if self.limit_bytes is not None and self.reserved + num_bytes > self.limit_bytes:
            return False
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return True

    def _give_back(self) -> None:
        """Returns the segments that are wholly free to the device."""
        for block in self._take_free():
            if block.previous is not None or block.next is not None:
                self._cache(block)
                continue
            self.reserved -= block.size
            del self._heads[block.address]
            self.observe("segment_free", block, block.size)

    def _take_free(self) -> list[Block]:
        """Removes all blocks from their pools and returns them: those of the small pool first, each pool in order."""
        blocks = [self._free[place] for place in (*self._small, *self._large)]
        self._small, self._large = [], []
        self._free.clear()
        return blocks

    def _cache(self, block: Block) -> None:
        """Puts a free block into its pool."""
        place = block.size << ADDRESS_BITS | block.address
        insort(self._small if block.small else self._large, place)
        self._free[place] = block

    def _forget(self, block: Block) -> None:
        """Removes a free block from its pool."""
        place = block.size << ADDRESS_BITS | block.address
        pool = self._small if block.small else self._large
        del pool[bisect_left(pool, place)]
        del self._free[place]

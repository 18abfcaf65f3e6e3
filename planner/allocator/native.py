"""Simulates CUDA's caching allocator on a trace of allocations and frees: the bytes that it reserves, and its blocks.

This is the native backend on one stream. Source: c10/cuda/CUDACachingAllocator.cpp: kSmallSize, kSmallBuffer,
kMinLargeAlloc, kLargeBuffer, kRoundLarge, `should_split`, `get_free_block`, `free_block`, `release_cached_blocks`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator

from hardware import PlannerError

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


class OutOfMemoryError(PlannerError):
    """Reports a request that the allocator cannot serve within its limit."""


class Block:
    """Represents consecutive bytes of a segment, in use or free.

    Args:
        size: Bytes of the block.
        address: Its first address.
        small: Whether it belongs to the small pool.
        mapped: Whether there is memory behind its addresses.

    Attributes:
        free: Whether it is not in use.
        previous: The block before it in the segment, or None.
        next: The block after it in the segment, or None.
    """

    __slots__ = ("address", "free", "mapped", "next", "previous", "size", "small")

    def __init__(self, size: int, address: int, small: bool, *, mapped: bool = True) -> None:
        self.size, self.address, self.small, self.free, self.mapped = size, address, small, True, mapped
        self.previous: Block | None = None
        self.next: Block | None = None

    @property
    def usable(self) -> bool:
        """Whether a request can be served from this block."""
        return self.free and self.mapped

    def split(self, size: int) -> Block:
        """Shrinks the block to `size` bytes and returns a new block of the rest."""
        rest = Block(self.size - size, self.address + size, self.small, mapped=self.mapped)
        rest.previous, rest.next = self, self.next
        if rest.next is not None:
            rest.next.previous = rest
        self.next, self.size = rest, size
        return rest

    def absorb_next(self) -> None:
        """Joins the block with the one after it."""
        assert self.next is not None
        self.size += self.next.size
        self.next = self.next.next
        if self.next is not None:
            self.next.previous = self


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

    def __init__(self, limit_bytes: int | None = None, observer: Observer = ignored) -> None:
        self.limit_bytes, self.observe = limit_bytes, observer
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = self.retries = 0
        self._pools: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        """(size, address) of the free blocks of the small (True) and the large (False) pool, in order."""
        self._free: dict[int, Block] = {}
        """The free blocks, by address."""
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
        for storage, size in trace:
            if size > 0:
                self._held[storage] = self.allocate(size)
            elif size == 0:
                self._give_back()
            elif storage in self._held:
                self.release(self._held.pop(storage))

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
        size = max(SMALLEST_REMAINDER, -(-size // SMALLEST_REMAINDER) * SMALLEST_REMAINDER)
        small = size <= SMALL
        block = self._cached(size, small) or self._new(size, small)
        if block is None:
            self.retries += 1
            self._give_back()
            block = self._new(size, small)
        if block is None:
            raise OutOfMemoryError(
                f"{size} bytes cannot be reserved beside {self.reserved} of {self.limit_bytes}, "
                f"of which {self.allocated} are allocated"
            )
        if self._splits(block.size - size, small):
            self._cache(block.split(size))
        block.free = False
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        self.observe("alloc", block, size)
        return block

    def release(self, block: Block) -> None:
        """Frees a block and makes it usable."""
        self.observe("free", block, block.size)
        self.allocated -= block.size
        self.recycle(block)

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
        if block.next is not None and block.next.usable:
            self._forget(block.next)
            block.absorb_next()
        if block.previous is not None and block.previous.usable:
            self._forget(block.previous)
            block = block.previous
            block.absorb_next()
        self._cache(block)

    def segments(self) -> Iterator[Block]:
        """Yields the first block of every segment, in the order of addresses."""
        yield from (self._heads[address] for address in sorted(self._heads))

    def _cached(self, size: int, small: bool) -> Block | None:
        """Removes the smallest sufficient free block from its pool and returns it; None if there is none."""
        pool = self._pools[small]
        place = bisect_left(pool, (size, -1))
        return self._free.pop(pool.pop(place)[1]) if place < len(pool) else None

    def _new(self, size: int, small: bool) -> Block | None:
        """Returns a new segment for a request; None if it would exceed the limit."""
        if small:
            num_bytes = SMALL_SEGMENT
        elif size < SMALLEST_OWN_SEGMENT:
            num_bytes = LARGE_SEGMENT
        else:
            num_bytes = -(-size // ROUND_LARGE) * ROUND_LARGE
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
        blocks = [self._free[address] for pool in self._pools.values() for _, address in pool]
        self._pools = {True: [], False: []}
        self._free.clear()
        return blocks

    def _splits(self, rest: int, small: bool) -> bool:
        """Returns whether the rest of a block, in bytes, becomes a free block of its own."""
        return rest >= SMALLEST_REMAINDER if small else rest > SMALL

    def _cache(self, block: Block) -> None:
        """Puts a free block into its pool."""
        insort(self._pools[block.small], (block.size, block.address))
        self._free[block.address] = block

    def _forget(self, block: Block) -> None:
        """Removes a free block from its pool."""
        pool = self._pools[block.small]
        del pool[bisect_left(pool, (block.size, block.address))]
        del self._free[block.address]

"""CUDA's caching allocator on a trace of allocations and frees: how many bytes it reserves, in blocks of which size.

The native backend on one stream. Source: c10/cuda/CUDACachingAllocator.cpp: kSmallSize, kSmallBuffer, kMinLargeAlloc,
kLargeBuffer, kRoundLarge, `should_split`, `get_free_block`, `free_block`, `release_cached_blocks`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator

from hardware import PlannerError

MIB = 2**20
SMALL = MIB
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
SMALLEST_OWN_SEGMENT = 10 * MIB
ROUND_LARGE = 2 * MIB
SMALLEST_REMAINDER = 512
FIRST_ADDRESS = 0x7F00_0000_0000
"""Above the first segment, below 2^47, where processes have their memory and CUDA maps a GPU's. Of equal free blocks
the one at the lowest address is taken, and on Linux the driver maps every new segment below the older ones, as mmap
does: seen in 14 LoRA runs on a T4, whose reserved bytes are up to 9 % off with rising addresses, 1.4 % with falling
ones."""


class OutOfMemoryError(PlannerError):
    """A request that the allocator cannot serve within its limit."""


class Block:
    """Consecutive bytes of a segment, in use or free; `mapped`: with memory behind its addresses."""

    __slots__ = ("address", "free", "mapped", "next", "previous", "size", "small")

    def __init__(self, size: int, address: int, small: bool, *, mapped: bool = True) -> None:
        self.size, self.address, self.small, self.free, self.mapped = size, address, small, True, mapped
        self.previous: Block | None = None
        self.next: Block | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.size, self.address

    @property
    def usable(self) -> bool:
        return self.free and self.mapped

    def split(self, size: int) -> Block:
        """Keeps `size` bytes; returns the block of the others."""
        rest = Block(self.size - size, self.address + size, self.small, mapped=self.mapped)
        rest.previous, rest.next = self, self.next
        if rest.next is not None:
            rest.next.previous = rest
        self.next, self.size = rest, size
        return rest

    def absorb_next(self) -> None:
        assert self.next is not None
        self.size += self.next.size
        self.next = self.next.next
        if self.next is not None:
            self.next.previous = self


Observer = Callable[[str, Block, int], None]
"""Called with every action, named as in torch's memory snapshots, its block and its bytes: for `alloc` those that are
requested, for the actions of segments the segment's or, of expandable ones, the pages'."""


def ignored(action: str, block: Block, size: int) -> None:
    pass


class CachingAllocator:
    """Serves each request from the best-fitting cached block, else from a new segment.

    Args:
        limit_bytes: how much it can reserve. At the limit it gives back the segments that are wholly free and tries
            again, as with a device that is full; `retries` counts how often.
        observer: is told what it does.
    """

    def __init__(self, limit_bytes: int | None = None, observer: Observer = ignored) -> None:
        self.limit_bytes, self.observe = limit_bytes, observer
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = self.retries = 0
        self._pools: dict[bool, list[Block]] = {True: [], False: []}
        self._next_address = FIRST_ADDRESS
        self._heads: dict[int, Block] = {}
        self._held: dict[int, Block] = {}

    def run(self, trace: Iterable[tuple[int, int]]) -> None:
        """`trace`: (storage, +bytes) for an allocation, (storage, -bytes) for its free, (0, 0) for an emptied cache; it
        can be served in parts.

        Raises:
            OutOfMemoryError: a request does not fit.
        """
        for storage, size in trace:
            if size > 0:
                self._held[storage] = self.allocate(size)
            elif size == 0:
                self._give_back()
            elif storage in self._held:
                self.release(self._held.pop(storage))

    def reset_peaks(self) -> None:
        """As `torch.cuda.reset_peak_memory_stats`."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def allocate(self, size: int) -> Block:
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
        self.observe("free", block, block.size)
        self.allocated -= block.size
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
        """The first block of every segment, by address."""
        yield from (self._heads[address] for address in sorted(self._heads))

    def _cached(self, size: int, small: bool) -> Block | None:
        """The smallest free block that is large enough, out of its pool."""
        pool = self._pools[small]
        place = bisect_left(pool, (size, -1), key=lambda b: b.key)
        return pool.pop(place) if place < len(pool) else None

    def _new(self, size: int, small: bool) -> Block | None:
        """A segment for the request; None where the limit is in the way."""
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
        if self.limit_bytes is not None and self.reserved + num_bytes > self.limit_bytes:
            return False
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return True

    def _give_back(self) -> None:
        for small, pool in self._pools.items():
            self._pools[small] = [b for b in pool if b.previous is not None or b.next is not None]
            for segment in (b for b in pool if b.previous is None and b.next is None):
                self.reserved -= segment.size
                del self._heads[segment.address]
                self.observe("segment_free", segment, segment.size)

    def _splits(self, rest: int, small: bool) -> bool:
        return rest >= SMALLEST_REMAINDER if small else rest > SMALL

    def _cache(self, block: Block) -> None:
        insort(self._pools[block.small], block, key=lambda b: b.key)

    def _forget(self, block: Block) -> None:
        pool = self._pools[block.small]
        pool.pop(bisect_left(pool, block.key, key=lambda b: b.key))

"""Simulates the caching allocator with `expandable_segments:True`: one range of addresses per pool, mapped by pages.

Source: c10/cuda/CUDACachingAllocator.cpp: `ExpandableSegment`, `get_free_block`, `try_allocate_expandable_block`,
`map_block`, `unmap_block`, `should_split`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from planner.allocator.block import Block
from planner.allocator.native import (
    ADDRESS_BITS,
    LARGE_SEGMENT,
    SMALL_SEGMENT,
    SMALLEST_REMAINDER,
    CachingAllocator,
    Observer,
    ignored,
)

RANGE_BYTES = 1 << 40
"""Bytes of a pool's range of addresses: more than the memory of any device, so that the range never ends."""


class ExpandableAllocator(CachingAllocator):
    """Serves requests from segments that grow at their end, so that a free block there serves larger requests, too.

    Args and attributes are those of `CachingAllocator`.
    """

    smallest_rests = SMALLEST_REMAINDER, SMALLEST_REMAINDER

    def __init__(self, limit_bytes: int | None = None, observer: Observer = ignored) -> None:
        super().__init__(limit_bytes, observer)
        self._ranges = {
            small: Block(RANGE_BYTES, RANGE_BYTES * (1 + small), small, mapped=False) for small in (True, False)
        }
        """The first block of each pool's range; the blocks of a range are linked, mapped or not."""

    def segments(self) -> Iterator[Block]:
        """Yields the first block of every stretch of mapped addresses, which torch reports as segments."""
        for first in self._ranges.values():
            block: Block | None = first
            while block is not None:
                if block.mapped and (block.previous is None or not block.previous.mapped):
                    yield block
                block = block.next

    def _cached(self, size: int, small: bool) -> Block | None:
        """Removes the best-fitting free block from its pool and returns it; None if there is none.

        A block that can grow counts as large as it can become.
        """
        pool = self._small if small else self._large
        place = bisect_left(pool, size << ADDRESS_BITS)
        if place == len(pool):
            return None
        free = self._free
        while place + 1 < len(pool) and _could_be(free[pool[place + 1]]) < _could_be(free[pool[place]]):
            place += 1
        return free.pop(pool.pop(place))

    def _new(self, size: int, small: bool) -> Block | None:
        """Maps memory at the first unmapped addresses with enough room, counting a free block just before them.

        Returns None if it would exceed the limit.
        """
        hole: Block | None = self._ranges[small]
        while hole is not None:
            before = hole.previous if not hole.mapped and hole.previous is not None and hole.previous.usable else None
            found = before.size if before is not None else 0
            if not hole.mapped and found + hole.size >= size:
                return self._grow(before, hole, size - found)
            hole = hole.next
        return None

    def _grow(self, before: Block | None, hole: Block, missing: int) -> Block | None:
        """Maps the pages at the start of a hole and joins them with the free blocks on both sides.

        Args:
            before: The free block before the hole, or None.
            hole: A block of unmapped addresses.
            missing: The bytes to map, which are rounded up to pages.

        Returns:
            The block that results, which is in no pool; None if it would exceed the limit.
        """
        page = SMALL_SEGMENT if hole.small else LARGE_SEGMENT
        num_bytes = min(-(-missing // page) * page, hole.size)
        if not self._reserve(num_bytes):
            return None
        if num_bytes < hole.size:
            hole.split(num_bytes)
        hole.mapped = True
        self.observe("segment_map", hole, hole.size)
        if hole.next is not None and hole.next.usable:
            self._forget(hole.next)
            hole.absorb_next()
        if before is None:
            return hole
        self._forget(before)
        before.absorb_next()
        return before

    def _give_back(self) -> None:
        """Unmaps every page that is wholly free."""
        for block in self._take_free():
            page, start = (SMALL_SEGMENT if block.small else LARGE_SEGMENT), self._ranges[block.small].address
            first = start + -(-(block.address - start) // page) * page
            end = start + (block.address + block.size - start) // page * page
            self._unmap(block, first, end)

    def _unmap(self, block: Block, first: int, end: int) -> None:
        """Unmaps the addresses from `first` up to `end` of a free block, and caches what remains of it."""
        if first >= end:
            self._cache(block)
            return
        if first > block.address:
            free, block = block, block.split(first - block.address)
            self._cache(free)
        if end < block.address + block.size:
            self._cache(block.split(end - block.address))
        self.reserved -= block.size
        self.observe("segment_unmap", block, block.size)
        block.mapped = False
        if block.next is not None and not block.next.mapped:
            block.absorb_next()
        if block.previous is not None and not block.previous.mapped:
            block.previous.absorb_next()


def _could_be(block: Block) -> int:
    """Returns the bytes that a block would have if it grew into the unmapped addresses after it."""
    return block.size + (block.next.size if block.next is not None and not block.next.mapped else 0)

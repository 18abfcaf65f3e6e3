"""CUDA's caching allocator on a trace of allocations and frees: how many bytes it reserves, in blocks of which size.

The native backend on one stream, without garbage collection. Source: c10/cuda/CUDACachingAllocator.cpp: kSmallSize,
kSmallBuffer, kMinLargeAlloc, kLargeBuffer, kRoundLarge, `should_split`, `get_free_block`, `free_block`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

MIB = 2**20
SMALL = MIB
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
SMALLEST_OWN_SEGMENT = 10 * MIB
ROUND_LARGE = 2 * MIB
SMALLEST_REMAINDER = 512


class _Block:
    __slots__ = ("address", "free", "next", "previous", "size", "small")

    def __init__(self, size: int, address: int, small: bool) -> None:
        self.size, self.address, self.small, self.free = size, address, small, True
        self.previous: _Block | None = None
        self.next: _Block | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.size, self.address


class CachingAllocator:
    """Serves each request from the best-fitting cached block, else from a new segment."""

    def __init__(self) -> None:
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = 0
        self._pools: dict[bool, list[_Block]] = {True: [], False: []}
        self._next_address = 0

    def run(self, trace: Iterable[tuple[int, int]]) -> None:
        """`trace`: (storage, +bytes) for an allocation, (storage, -bytes) for its free."""
        held: dict[int, _Block] = {}
        for storage, size in trace:
            if size > 0:
                held[storage] = self.allocate(size)
            elif storage in held:
                self.release(held.pop(storage))

    def allocate(self, size: int) -> _Block:
        size = max(SMALLEST_REMAINDER, -(-size // SMALLEST_REMAINDER) * SMALLEST_REMAINDER)
        small = size <= SMALL
        pool = self._pools[small]
        place = bisect_left(pool, (size, -1), key=lambda b: b.key)
        block = pool.pop(place) if place < len(pool) else self._segment(size, small)
        rest = block.size - size
        if rest >= SMALLEST_REMAINDER if small else rest > SMALL:
            self._split(block, size)
        block.free = False
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def release(self, block: _Block) -> None:
        self.allocated -= block.size
        block.free = True
        if block.next is not None and block.next.free:
            self._forget(block.next)
            self._absorb(block, block.next)
        if block.previous is not None and block.previous.free:
            self._forget(block.previous)
            self._absorb(block.previous, block)
            block = block.previous
        insort(self._pools[block.small], block, key=lambda b: b.key)

    def _segment(self, size: int, small: bool) -> _Block:
        if small:
            num_bytes = SMALL_SEGMENT
        elif size < SMALLEST_OWN_SEGMENT:
            num_bytes = LARGE_SEGMENT
        else:
            num_bytes = -(-size // ROUND_LARGE) * ROUND_LARGE
        block = _Block(num_bytes, self._next_address, small)
        self._next_address += num_bytes + (1 << 40)  # segments are never neighbours
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return block

    def _split(self, block: _Block, size: int) -> None:
        rest = _Block(block.size - size, block.address + size, block.small)
        rest.previous, rest.next = block, block.next
        if rest.next is not None:
            rest.next.previous = rest
        block.next, block.size = rest, size
        insort(self._pools[rest.small], rest, key=lambda b: b.key)

    @staticmethod
    def _absorb(block: _Block, behind: _Block) -> None:
        block.size += behind.size
        block.next = behind.next
        if block.next is not None:
            block.next.previous = block

    def _forget(self, block: _Block) -> None:
        pool = self._pools[block.small]
        pool.pop(bisect_left(pool, block.key, key=lambda b: b.key))

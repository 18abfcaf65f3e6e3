"""Serves the requests of a process by native segments while they are made."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from planner.allocator.native import ADDRESS_BITS, SMALL, OutOfMemoryError
from planner.allocator.streamed import IN_FLIGHT
from planner.allocator.streams import Stream
from planner.memory.autograd.storage import FINISHED, Logged
from planner.memory.requests.heap import RELEASE, Entry, Finish, Heap, allocation, nothing
from planner.memory.requests.repeated import Repeated
from planner.memory.requests.requests import Requests

ELSEWHERE = -1
"""Stands for a block of the large pool where only the small one is asked."""


class ServedAtOnce(Requests):
    """Serves each request when it is made. A storage is the number of its block.

    Args:
        limit_bytes: Bytes that may be reserved; None for no limit.
        repeats: Whether the large pool is left out where it serves a micro-batch as it served one before.
    """

    def __init__(self, limit_bytes: int | None, *, repeats: bool = True) -> None:
        super().__init__()
        self._heap = Heap(limit_bytes)
        self._others = self._heap.owners
        self._repeated = Repeated(self._heap) if repeats else None
        self._only_small = False
        self._allocated_in: dict[int, tuple[Iterable[Logged], frozenset[int]]] = {}
        """What logs allocate, by their identity, which is theirs as long as they are kept here."""
        self._entries: dict[tuple[int, frozenset[int], bool], tuple[Entry, ...]] = {}
        """Those of logs, by their identity, what of them exists, and whether only the small pool is asked."""

    @property
    def peaks(self) -> tuple[int, int]:
        """The largest bytes in allocated blocks since loading, and in segments."""
        before = self._repeated.peak_before if self._repeated is not None else 0
        return max(before, self._heap.peak_allocated), self._heap.peak_reserved

    @property
    def retries(self) -> int:
        """How often free segments were returned to serve a request."""
        return self._heap.retries

    def serves(self, run: Iterable[None]) -> bool:
        """Runs a process that makes these requests, and returns whether all of them fit.

        Raises:
            InterferenceError: Micro-batches that were taken to repeat others do not, so that the process has to be run
                again by another one of these, without `repeats`.
        """
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
        if self._only_small and num_bytes > SMALL:
            return ELSEWHERE
        heap = self._heap
        if stream is Stream.GATHER:
            heap.recycle(IN_FLIGHT - 1)
        names: dict[int, int] = {}
        heap.serve((allocation(1, num_bytes),), names, nothing, heap.pools[stream])
        if stream is not Stream.COMPUTE or shared:
            self.streams[names[1]], heap.has_streams = (stream, shared), True
        return names[1]

    def keep(self, sizes: Iterable[int]) -> None:
        """Serves the requests for storages that stay.

        Raises:
            OutOfMemoryError: One does not fit.
        """
        entries = tuple(allocation(number, size) for number, size in enumerate(sizes, start=1) if size)
        self._heap.serve(entries, {}, nothing, self._heap.compute)

    def borrow(self, sizes: Iterable[int]) -> None:
        """Serves requests for storages of which each is released before the next one is asked for.

        Raises:
            OutOfMemoryError: One does not fit.
        """
        heap, served, segments = self._heap, set[int](), 0
        for num_bytes in sizes:
            if num_bytes in served:
                continue  # no segment has come or gone since: the same block serves it, and is free again afterwards
            self.release(self.allocate(num_bytes))
            if segments != heap.maps:
                served, segments = set(), heap.maps
            served.add(num_bytes)

    def release(self, storage: int) -> None:
        """Ends one owner's use of a block, and frees it if there is no other owner."""
        if storage <= 0:
            return
        heap, stream, shared = self._heap, Stream.COMPUTE, False
        if storage in self.streams and storage not in self._others:
            stream, shared = self.streams.pop(storage)
        if shared:
            heap.allocated -= storage >> ADDRESS_BITS
            heap.waiting.append((stream, storage))
        else:
            heap.serve(RELEASE, {1: storage}, nothing, heap.pools[stream])

    def retire(self, storage: int) -> int:
        """Frees a block that another stream still uses, and returns how many such have been passed when it is."""
        heap = self._heap
        heap.has_streams = True
        super().retire(storage)
        return heap.passed + len(heap.waiting)

    def passed(self, retired: int) -> None:
        """Makes a block usable that was retired, unless that has been done."""
        self._heap.recycle_until(retired)

    def release_all(self, storages: Iterable[int]) -> None:
        """Ends one owner's use of each block, in order."""
        if self.streams:
            super().release_all(storages)
            return
        names = dict(enumerate(storages))
        self._heap.serve(tuple((number, 0, 0, 0) for number in names), names, nothing, self._heap.compute)

    def share(self, storage: int) -> int:
        """Counts one more owner of a block and returns it."""
        return super().share(storage) if storage > 0 else storage

    def size_of(self, storage: int) -> int:
        """Returns the bytes that were asked for, of a block in use."""
        return (storage >> ADDRESS_BITS) - self._heap.unused.get(storage, 0)

    def end_loading(self) -> None:
        """Counts the peak of allocated bytes from here on."""
        self._heap.peak_allocated = self._heap.allocated

    def begin_micro_batch(self, adds: bool | None) -> None:
        """Asks only the small pool where the large one serves the micro-batch as one before."""
        self._only_small = self._repeated is not None and self._repeated.begin(adds)

    def end_micro_batch(self) -> None:
        """Asks both pools again."""
        if self._repeated is not None:
            self._repeated.end()
        self._only_small = False

    def wait(self) -> None:
        """Makes all freed blocks usable."""
        self._heap.recycle(0)

    def play(self, logged: Iterable[Logged], names: dict[int, int], micro_batch_size: int, finish: Finish) -> None:
        """Serves the requests of a log, all of one micro-batch size, except for those of storages that exist.

        Raises:
            OutOfMemoryError: One does not fit.
        """
        log = id(logged)
        if log not in self._allocated_in:
            self._allocated_in[log] = logged, frozenset(n for n, fixed, _ in logged if n > 0 and fixed != FINISHED)
        given = self._allocated_in[log][1].intersection(names)
        key = log, given, self._only_small
        if key not in self._entries:
            self._entries[key] = _entries(logged, micro_batch_size, given, only_small=self._only_small)
        self._heap.serve(self._entries[key], names, self._finish_by(finish), self._heap.compute)

    def _finish_by(self, finish: Finish) -> Finish:
        """Returns what takes gradients, and notes the largest where a micro-batch may be repeated."""
        return finish if self._repeated is None else self._repeated.noting(finish)


def _entries(
    logged: Iterable[Logged], micro_batch_size: int, given: Collection[int], *, only_small: bool
) -> tuple[Entry, ...]:
    """Returns the entries of a log, without those for no bytes and those of storages that exist.

    With `only_small`, those of the large pool are left out as well.
    """
    entries: list[Entry] = []
    left_out: set[int] = set()
    for number, fixed, per_sample in logged:
        if number < 0:
            entries += [(-number, 0, 0, 0)] if -number not in left_out else []
        elif fixed == FINISHED:
            entries.append((number, -1, 0, per_sample))
        elif number not in given and (num_bytes := fixed + per_sample * micro_batch_size):
            if only_small and num_bytes > SMALL:
                left_out.add(number)
            else:
                entries.append(allocation(number, num_bytes))
    return tuple(entries)

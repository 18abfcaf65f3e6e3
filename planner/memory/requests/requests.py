"""Collects what a process asks of the allocator, request by request, and who still uses each storage."""

from __future__ import annotations

from collections import Counter

from planner.allocator.streams import Stream

Request = tuple[int, int]
"""(storage, bytes) for an allocation, (storage, -bytes) for its release."""


class Requests:
    """Makes the requests of a process, in order.

    Attributes:
        made: The requests so far.
        loaded: The number of requests that are made before the first step.
        waits: The numbers of requests that are made before each time that Python waits for the GPU.
        streams: The stream of each storage, and whether another one uses it as well; one that is not listed is on the
            compute stream alone.
    """

    def __init__(self) -> None:
        self.waits: list[int] = []
        self.made: list[Request] = []
        self.loaded = 0
        self.streams: dict[int, tuple[Stream, bool]] = {}
        self._sizes: dict[int, int] = {}
        self._owners: Counter[int] = Counter()
        self._last = 0

    def allocate(self, num_bytes: int, stream: Stream = Stream.COMPUTE, *, shared: bool = False) -> int:
        """Asks for bytes and returns the number of their storage; 0, which is no storage, for no bytes.

        Args:
            num_bytes: The bytes.
            stream: The stream on which they are allocated.
            shared: Whether another stream uses them as well (`record_stream`).
        """
        if not num_bytes:
            return 0
        self._last += 1
        if stream is not Stream.COMPUTE or shared:
            self.streams[self._last] = stream, shared
        self._sizes[self._last], self._owners[self._last] = num_bytes, 1
        self.made.append((self._last, num_bytes))
        return self._last

    def wait(self) -> None:
        """Notes that Python waits here until the GPU has done everything."""
        self.waits.append(len(self.made))

    def share(self, storage: int) -> int:
        """Counts one more owner of a storage and returns it."""
        self._owners[storage] += 1
        return storage

    def release(self, storage: int) -> None:
        """Ends one owner's use of a storage, and releases its bytes if there is no other owner."""
        if not storage:
            return
        self._owners[storage] -= 1
        if not self._owners[storage]:
            del self._owners[storage]
            self.made.append((storage, -self._sizes.pop(storage)))

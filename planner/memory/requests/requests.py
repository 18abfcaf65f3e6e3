"""Collects what a process asks of the allocator, request by request, and who still uses each storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from planner.allocator.streams import Stream
from planner.memory.autograd.storage import FINISHED, Logged

Request = tuple[int, int]
"""(storage, bytes) for an allocation, (storage, -bytes) for its release, (storage, 0) where the GPU has passed the end
of one that was released and that another stream uses."""


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
        self._others: dict[int, int] = {}
        """How many owners each storage has besides one; storages of a single owner are not listed."""
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
        self._sizes[self._last] = num_bytes
        self.made.append((self._last, num_bytes))
        return self._last

    def keep(self, sizes: Iterable[int]) -> None:
        """Asks for the bytes of storages that stay as long as the process.

        Args:
            sizes: Bytes of each of them.
        """
        for num_bytes in sizes:
            self.allocate(num_bytes)

    def borrow(self, sizes: Iterable[int]) -> None:
        """Asks for the bytes of storages of which each is released before the next one is asked for.

        Args:
            sizes: Bytes of each of them.
        """
        for num_bytes in sizes:
            self.release(self.allocate(num_bytes))

    def end_loading(self) -> None:
        """Notes that the first step begins."""
        self.loaded = len(self.made)

    def begin_micro_batch(self, adds: bool | None) -> None:
        """Notes that a micro-batch begins.

        Args:
            adds: Whether gradients exist, to which its own are added, and which no one else uses; False where its own
                are kept, and another micro-batch adds to them. None where it is neither.
        """

    def end_micro_batch(self) -> None:
        """Notes that a micro-batch has ended."""

    def wait(self) -> None:
        """Notes that Python waits here until the GPU has done everything."""
        self.waits.append(len(self.made))

    def share(self, storage: int) -> int:
        """Counts one more owner of a storage and returns it."""
        self._others[storage] = self._others.get(storage, 0) + 1
        return storage

    def size_of(self, storage: int) -> int:
        """Returns the bytes of a storage that is alive."""
        return self._sizes.get(storage, 0)

    def release(self, storage: int) -> None:
        """Ends one owner's use of a storage, and releases its bytes if there is no other owner."""
        if not storage:
            return
        if storage not in self._others:
            self.made.append((storage, -self._sizes.pop(storage)))
        elif self._others[storage] == 1:
            del self._others[storage]
        else:
            self._others[storage] -= 1

    def retire(self, storage: int) -> int:
        """Releases a storage that another stream still uses, which serves nobody before the GPU has passed its end.

        Returns:
            What `passed` takes when the GPU has done so.
        """
        stream, _ = self.streams.get(storage, (Stream.COMPUTE, True))
        self.streams[storage] = stream, True
        self.release(storage)
        return storage

    def passed(self, retired: int) -> None:
        """Notes that the GPU has passed the end of what was retired, of which the oldest goes first."""
        self.made.append((retired, 0))

    def release_all(self, storages: Iterable[int]) -> None:
        """Ends one owner's use of each storage, in order."""
        for storage in storages:
            self.release(storage)

    def play(
        self,
        logged: Iterable[Logged],
        names: dict[int, int],
        micro_batch_size: int,
        finish: Callable[[int, int], None],
    ) -> None:
        """Makes the requests of a log, except for those of storages that exist.

        Args:
            logged: The log of a part.
            names: The storages that are alive, by their numbers in the log.
            micro_batch_size: Samples of the micro-batch.
            finish: Takes the storage of a parameter's gradient, or no storage where a product runs; and which it is, as
                the third number of `Logged` says.
        """
        made, sizes, others = self.made, self._sizes, self._others
        for number, fixed, per_sample in logged:
            if number < 0:
                storage = names.pop(-number, 0)
                if storage in others:
                    self.release(storage)
                elif storage:
                    made.append((storage, -sizes.pop(storage)))
            elif fixed == FINISHED:
                finish(names.pop(number, 0), per_sample)
            elif number not in names:
                num_bytes = fixed + per_sample * micro_batch_size
                if num_bytes:
                    self._last = names[number] = storage = self._last + 1
                    sizes[storage] = num_bytes
                    made.append((storage, num_bytes))
                else:
                    names[number] = 0

"""Finds micro-batches that the large pool serves exactly as it served one before.

The small and the large pool of a stream share nothing but the limit. Where gradients are small, as those of adapters
are, the requests for large blocks are the same in every micro-batch of a step; and one that found the pool as it left
it, with all that it took free again, left it so to the next one, which will be served by the same blocks.
"""

from __future__ import annotations

from planner.memory.requests.heap import SMALL_END, Finish, Heap, InterferenceError


class Repeated:
    """Compares what micro-batches find in the large pool.

    Args:
        heap: Serves the requests.

    Attributes:
        peak_before: Largest bytes allocated before the micro-batch whose peak is counted by itself.
    """

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self.peak_before = 0
        self._found: list[int] | None = None
        """The free blocks that a micro-batch has found which others may repeat."""
        self._start = self._largest = 0
        """Bytes allocated at its start, and the largest block that has become a gradient since."""
        self._known: tuple[list[int], int] | None = None
        """What one found that left it as it was, and the bytes that it allocated in addition at its peak."""
        self._peak = 0
        """Largest bytes allocated within the micro-batch that repeats that one."""
        self._owes = False
        """Whether a micro-batch was left uncounted, which the next one is to exceed."""

    def begin(self, adds: bool | None) -> bool:
        """Returns whether the large pool will serve a micro-batch as one before.

        Args:
            adds: Whether gradients exist, as `Requests.begin_micro_batch` says.

        Raises:
            InterferenceError: It will not, although that was expected of it when the one before was left out.
        """
        heap, self._found, self._peak = self._heap, None, 0
        large = heap.compute[1]
        if adds is not None and self._known is not None and self._known[0] == large:
            # One that keeps its gradients never has more than the next one, which has all of them from its start on.
            self._peak, self._owes = heap.allocated + self._known[1] if adds else 0, not adds
            heap.guarded = True
            return True
        if self._owes:
            raise InterferenceError
        if adds:
            self._found, self._start, self._largest = list(large), heap.allocated, 0
            self.peak_before, heap.peak_allocated = max(self.peak_before, heap.peak_allocated), heap.allocated
        return False

    def noting(self, finish: Finish) -> Finish:
        """Returns what takes gradients, with a note of the largest if that is asked for."""
        if self._found is None:
            return finish

        def noted(gradient: int, which: int) -> None:
            self._largest = max(self._largest, gradient)
            finish(gradient, which)

        return noted

    def end(self) -> None:
        """Notes whether the micro-batch has left the large pool as it found it."""
        heap = self._heap
        heap.guarded = False
        heap.peak_allocated = max(heap.peak_allocated, self._peak)
        if self._found == heap.compute[1] and self._largest < SMALL_END:
            self._known = self._found, heap.peak_allocated - self._start

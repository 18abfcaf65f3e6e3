"""Makes the requests around the parts of a micro-batch, and those for finished gradients: a whole model on one rank.

Backends that gather parameters or reduce gradients have a class of their own that overrides what differs.
"""

from __future__ import annotations

from planner.memory.requests.requests import Requests


class Around:
    """Keeps the gradients of parameters from a step's first micro-batch to the end of the step.

    Args:
        requests: Takes the requests.
        most_micro_batches: Most micro-batches of a step that differ: the first finds no gradients, later ones do, and
            the last may reduce them.
    """

    def __init__(self, requests: Requests, *, most_micro_batches: int = 2) -> None:
        self.requests, self.most_micro_batches = requests, most_micro_batches
        self.gradients: list[int] = []
        """Storages of the gradients that exist."""
        self.exist = False
        """Whether all gradients existed when the micro-batch began."""

    def load(self) -> int:
        """Makes the requests of loading that are the backend's own, and returns the bytes of parameters that stay."""
        return 0

    def enter_forward(self, i: int) -> None:
        """Makes the requests before the forward of part `i`."""

    def leave_forward(self, i: int) -> None:
        """Makes the requests after the forward of part `i`."""

    def end_forward(self) -> None:
        """Makes the requests when the model's forward has returned."""

    def enter_backward(self, i: int) -> None:
        """Makes the requests before the backward of part `i`."""

    def leave_backward(self, i: int) -> None:
        """Makes the requests after the backward of part `i`."""

    def adds(self, *, is_last: bool) -> bool | None:
        """Returns whether a micro-batch that begins adds to gradients, or keeps its own for one that does so.

        None says that it is neither. `is_last` says whether the micro-batch is the last one of its step.
        """
        return self.exist if self.exist or not is_last else None

    def finish(self, gradient: int) -> None:
        """Takes a finished gradient: it stays, or is added to the one that exists and released."""
        if self.exist:
            self.requests.release(gradient)
        else:
            self.gradients.append(gradient)

    def finish_shared(self, gradient: int) -> None:
        """Takes the finished gradient of a weight that stem and other parts share."""
        self.finish(gradient)

    def begin_micro_batch(self, *, is_last: bool) -> None:
        """Makes the requests before a micro-batch; `is_last` says whether it is the last one of its step."""

    def end_micro_batch(self) -> None:
        """Makes the requests after a micro-batch, and notes that all gradients exist."""
        self.exist = True

    def clear(self) -> None:
        """Releases all gradients, as `zero_grad` does."""
        self.requests.release_all(self.gradients)
        self.gradients, self.exist = [], False


class IntoBuckets(Around):
    """Moves each finished gradient into DDP's bucket in the last micro-batch of a step, as `mark_variable_ready_dense`.

    A gradient of earlier micro-batches, to which it was added, goes with it.
    """

    def begin_micro_batch(self, *, is_last: bool) -> None:
        """Notes whether gradients are reduced."""
        self._moves = is_last

    def adds(self, *, is_last: bool) -> bool | None:
        """Returns None, since buckets take gradients in the last micro-batch."""
        return None

    def finish(self, gradient: int) -> None:
        """Releases a finished gradient, whose numbers are in the bucket."""
        if not self._moves:
            super().finish(gradient)
            return
        self.requests.release(gradient)
        if self.gradients:
            self.requests.release(self.gradients.pop(0))

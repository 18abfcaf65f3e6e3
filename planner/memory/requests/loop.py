"""Makes the requests of a training loop that keeps what the model returned."""

from __future__ import annotations

from collections.abc import Iterable

from planner.memory.requests.requests import Requests
from planner.memory.step.outputs import KeptOutputs


class Loop:
    """Keeps a micro-batch's outputs, and the graph that hangs on them, until the next forward or the end of a step.

    Args:
        requests: Takes the requests.
        outputs: The bytes that are kept, and until when.
        micro_batch_size: Samples of a micro-batch.
    """

    def __init__(self, requests: Requests, outputs: KeptOutputs, micro_batch_size: int) -> None:
        self._requests = requests
        self._facts, (fixed, per_sample) = outputs.outputs.facts, outputs.after_step
        self._bytes = fixed + per_sample * micro_batch_size
        self._held: list[int] = []
        """Storages of the outputs of the last forward pass that has returned, and of its graph."""

    @property
    def keeps(self) -> bool:
        """Whether outputs live on after a model's forward has returned."""
        return self._facts.in_step

    def take(self, logits: int) -> None:
        """Takes the logits that a model has returned: those of the micro-batch before go, or these do at once."""
        self._release()
        if self.keeps and logits:
            self._held.append(logits)
        else:
            self._requests.release(logits)

    def end_backward(self, leaves: Iterable[int]) -> None:
        """Takes the leaves of the graph, which backward does not free, and keeps what else it leaves."""
        self._held += leaves
        if not self.keeps:
            self._release()
            return
        left = self._bytes - sum(map(self._requests.size_of, self._held))
        self._held.append(self._requests.allocate(max(0, left)))

    def end_step(self) -> None:
        """Ends a step, at which a function that is called for each step returns."""
        if not self._facts.in_next_forward:
            self._release()

    def _release(self) -> None:
        self._requests.release_all(self._held)
        self._held = []

"""Makes the requests of a micro-batch from the logs of its parts.

Bytes at the largest instants follow from a few lines (`planner.memory.step.step`). What an allocator reserves for them
depends on the order of all requests, which is made here for one micro-batch size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from planner.memory.autograd.storage import AWAITED, FINISHED, Logged
from planner.memory.requests.around import Around
from planner.memory.requests.loop import Loop
from planner.memory.requests.requests import Requests
from planner.memory.settings.log import PartLog
from planner.memory.settings.parts import Part

Names = dict[int, int]
"""The storages of one run of a part that are alive: by number in the part's log, their numbers in the requests."""


class MicroBatch:
    """Runs forward and backward of one micro-batch.

    Args:
        requests: Takes the requests.
        around: What sharding and replication do around each part, and with finished gradients.
        parts: Stem, blocks, head and loss, with logs.
        micro_batch_size: Samples of the micro-batch.
        loop: What the training loop keeps of the micro-batch before, and is to keep of this one.
    """

    def __init__(
        self, requests: Requests, around: Around, parts: Sequence[Part], micro_batch_size: int, loop: Loop
    ) -> None:
        self._requests, self._around, self._size, self._loop = requests, around, micro_batch_size, loop
        self._logs = [part.log for part in parts if part.log is not None]
        self._bodies_end = [i for i, part in enumerate(parts) if part.leaves_body]
        """Numbers of the parts before which a body of the model (a stack of blocks) returns."""
        self._copied = _copied_bytes(parts[-1]) * micro_batch_size
        self._names: list[Names] = [{} for _ in self._logs]
        self._leaves: list[int] = []
        """Storages of the leaves of recomputations that stay until backward ends, and of their gradients."""
        self._awaited = 0
        """Storage of the gradient of a weight that several parts share, which waits for the stem's."""
        self._taken_by: dict[int, set[int]] = {}
        """Storages that the backward of a log frees, by the log's identity."""
        self._workspace = 0
        """Bytes of the workspace that the next matrix product allocates."""

    def run(self, workspace_bytes: int = 0) -> Iterator[None]:
        """Runs forward and backward of all parts, and yields after each of them.

        Args:
            workspace_bytes: Bytes of the workspaces that the first products of forward and of backward allocate, which
                stay; 0 where they exist. Each runs on a thread of its own, with a cuBLAS handle.
        """
        around, output, logits = self._around, 0, 0
        self._workspace = workspace_bytes
        for i, (log, names) in enumerate(zip(self._logs, self._names, strict=True)):
            around.enter_forward(i)
            if i in self._bodies_end:
                self._leave_body(i)
            if i == len(self._logs) - 1 and output and (self._copied or self._loop.keeps):
                logits = self._requests.share(output)
            # the body's variable holds a block's input until the call has returned
            held = self._requests.share(output) if output and 0 < i < len(self._logs) - 2 else 0
            output = self._forward(log, names, output)
            around.leave_forward(i)
            self._requests.release(held)
            yield
        self._requests.release(output)
        self._return(logits)
        gradient, self._workspace = 0, workspace_bytes
        for i in reversed(range(len(self._logs))):
            around.enter_backward(i)
            gradient = self._backward(self._logs[i], self._names[i], gradient)
            if not i and self._awaited:
                around.finish_shared(self._awaited)
                self._awaited = 0
            around.leave_backward(i)
            yield
        self._requests.release(gradient)
        self._loop.end_backward(self._leaves)
        around.end_micro_batch()

    def _leave_body(self, part: int) -> None:
        """Ends the stack of blocks before a part: what its variables alone have kept goes."""
        for log, names in zip(self._logs[:part], self._names, strict=False):
            for number in log.body:
                self._requests.release(names.pop(number, 0))

    def _return(self, logits: int) -> None:
        """Ends the model's forward: its logits are copied in fp32 where they are narrower, and variables go."""
        copied = self._requests.allocate(self._copied)
        if copied:
            self._requests.release(logits)
        for log, names in zip(self._logs, self._names, strict=True):
            if log.again is None:
                self._play(log.returned, names)
            else:
                self._drop(names, but=log.stays)
        self._around.end_forward()
        self._loop.take(copied or logits)

    def _forward(self, log: PartLog, names: Names, given: int) -> int:
        """Runs a part's forward on the output of the part before, and returns its own output."""
        if given and log.given:
            names[log.given] = given
        else:
            self._requests.release(given)
        self._play(log.forward, names)
        if log.leaves_host and log.given in names:
            self._requests.release(names.pop(log.given))
        return self._hand_on(log, names)

    def _hand_on(self, log: PartLog, names: Names) -> int:
        """Returns a part's output, which the part keeps as well if its backward needs it."""
        if log.again is None:
            stays = all(number != -log.output for number, _, _ in log.returned)
        else:
            stays = log.output in log.stays
        if log.output in names and stays:
            return self._requests.share(names[log.output])
        return names.pop(log.output, 0)

    def _backward(self, log: PartLog, names: Names, gradient: int) -> int:
        """Runs a part's backward on the gradient of its output, and returns that of its input."""
        run, within = log, names
        if log.again is not None:
            run, within = log.again, {}
            for number in log.taken:
                self._requests.release(names.pop(number, 0))
            self._recompute(run, within, names.get(log.given, 0))
        if gradient and run.output_gradient:
            within[run.output_gradient] = gradient
        else:
            self._requests.release(gradient)
        self._play(run.backward, within)
        result = within.pop(run.given_gradient, 0)
        if log.leaf_stays:
            held = (storage for storage in (names.get(log.given, 0), result) if storage)
            self._leaves += map(self._requests.share, held)
        self._drop(within)
        if within is not names:
            self._drop(names)
        return result

    def _recompute(self, log: PartLog, names: Names, given: int) -> None:
        """Computes a checkpointed part again, and drops what its backward does not need."""
        if given:
            names[log.given] = self._requests.share(given)
        self._play(log.forward, names)
        if id(log) not in self._taken_by:
            self._taken_by[id(log)] = {-number for number, _, _ in log.backward if number < 0}
        self._drop(names, but=self._taken_by[id(log)])

    def _drop(self, names: Names, but: Collection[int] = ()) -> None:
        dropped = [number for number in names if number not in but]
        self._requests.release_all([names.pop(number) for number in dropped])

    def _play(self, logged: Sequence[Logged], names: Names) -> None:
        """Makes the requests of a log, except for those of storages that another part has made."""
        self._requests.play(logged, names, self._size, self._finish)

    def _finish(self, gradient: int, which: int) -> None:
        """Takes the gradient of a parameter; of a shared weight, it is a new one or the sum with that which waits.

        Where a matrix product runs, its thread allocates a workspace, unless that exists.
        """
        if which == FINISHED:
            self._around.finish(gradient)
        elif which == AWAITED:
            self._requests.release(self._awaited)
            self._awaited = gradient
        else:
            self._requests.allocate(self._workspace)
            self._workspace = 0


def _copied_bytes(loss: Part) -> int:
    """Returns the bytes per sample of what is copied in fp32 when the model's forward has returned.

    Source: accelerate, `convert_outputs_to_fp32`, as `Part.returned` counts it beside what backward needs.
    """
    at = loss.returned
    if at is None:
        return 0
    return at.per_sample - at.saved_per_sample - (0 if loss.saves_input else loss.input_bytes)

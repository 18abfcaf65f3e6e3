"""Makes the requests of FSDP2: what it gathers and reduces around each part, and on which stream.

The bytes are those of `planner.memory.sharding.fsdp2`. The stream of all-gathers has the cast shards and the buffer of
an all-gather, the compute stream the parameters that are copied out of it and the input of a reduce-scatter, and the
stream of reduce-scatters its result (torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py, `foreach_all_gather`
and `foreach_reduce`).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.allocator.streams import Stream
from planner.memory.requests.around import Around
from planner.memory.requests.requests import Requests
from planner.memory.sharding.account import Unit
from planner.memory.sharding.fsdp2.layout import grouped
from planner.memory.sharding.layout import Ends
from strategies import Fsdp2, GradientSync


class AroundFsdp2(Around):
    """Gathers a unit for each part, and reduces its gradients after its backward.

    Args:
        requests: Takes the requests.
        units: The parameters of each part: stem, blocks, head and loss.
        sharding: How the model is sharded.
        ranks: The number of ranks that divide each tensor.
        ends: How embedding and head hang together.
    """

    def __init__(self, requests: Requests, units: Sequence[Unit], sharding: Fsdp2, ranks: int, ends: Ends) -> None:
        each = sharding.gradient_sync is GradientSync.EACH
        units = grouped(units, ends)
        super().__init__(requests, most_micro_batches=2 if each else 3)
        self._units, self._ranks, self._head = units, ranks, len(units) - 2
        self._reshards, self._on_host, self._tied = sharding.reshards, sharding.on_host, ends.tied
        self._each, self._joins = each, ends.joined
        self._tensors = [unit.gathered_tensors for unit in units]
        self._copied = [-(-u.gathered_bytes // ranks) if sharding.on_host else u.cast_bytes for u in units]
        """Bytes of each unit's shards that are cast, or on the host, and copied in order to gather them."""
        if ends.tied:  # the embedding belongs to the head's unit
            self._copied[-2] += self._copied[0]
            self._tensors[0], self._tensors[-2] = (), (*self._tensors[0], *self._tensors[-2])
        self._stays = {self._head} if ends.tied or ends.rooted else set()
        """Units that stay gathered from the beginning of forward to the end of backward."""
        self._gathered: dict[int, list[int]] = {}
        """Storages of the parameters that are gathered, by unit."""
        self._buffers: dict[int, int] = {}
        """Storages of the buffers of all-gathers, by unit."""
        self._whole: list[int] = []
        """Storages of whole gradients that are not reduced yet."""
        self._waiting: list[int] = []
        """Storages of the whole gradients of a head that are reduced with the stem's."""
        self._input = 0
        """Storage of the input of the last reduce-scatter."""
        self._reduces = True
        """Whether the micro-batch's gradients are reduced."""

    def begin_micro_batch(self, *, is_last: bool) -> None:
        """Notes whether gradients are reduced, and gathers units that stay gathered from now on."""
        self._reduces = self._each or is_last
        for i in self._stays:
            self._gather(i)
            self._copy_out(i)

    def enter_forward(self, i: int) -> None:
        """Gathers the part's unit; the buffer of the unit before it is released after that."""
        if i in self._gathered or not self._tensors[i]:
            return
        before = list(self._buffers)
        self._gather(i)
        self._copy_out(i)
        self._drop_buffers(before)

    def leave_forward(self, i: int) -> None:
        """Reshards the part's unit, unless backward begins with it."""
        if self._reshards and i < self._head:
            self._reshard(i)

    def enter_backward(self, i: int) -> None:
        """Copies the part's unit out of the buffer that was gathered ahead, and gathers the unit before it."""
        if i >= self._head:
            self._drop_buffers(list(self._buffers))
        if i not in self._gathered and self._tensors[i]:
            if i not in self._buffers:
                self._gather(i)
            self._copy_out(i)
            self._drop_buffers([i])
        ahead = i - 1
        if 0 <= ahead < self._head and ahead not in self._gathered and self._tensors[ahead]:
            self._gather(ahead)

    def leave_backward(self, i: int) -> None:
        """Reshards the part's unit and reduces its gradients; those of a tied embedding wait for the stem's."""
        if i not in self._stays:
            self._reshard(i)
        if not i:  # the end of backward
            for part in self._stays:
                self._reshard(part)
        if not self._reduces or i > self._head:
            return
        if i in self._stays:
            self._waiting, self._whole = self._whole, []
            return
        if self._stays and not self._tied and i == 0:  # the root's come first
            self._waiting, self._whole = self._whole, self._waiting
            self._reduce_units(self._units[self._head])
            self._waiting, self._whole = [], self._waiting
        if self._tied and i == 0:
            # the tied embedding comes last, or the head does, whose modules are the last of the root's
            late = (self._waiting, self._whole) if not self._joins else (self._whole, self._waiting)
            self._whole, self._waiting = [*late[0], *reversed(late[1])], []
        self._reduce_units(self._units[i], *([self._units[self._head]] if self._tied and i == 0 else []))

    def _reduce_units(self, *units: Unit) -> None:
        """Reduces the gradients of units at once; nothing where none of their parameters trains."""
        whole = sum(unit.gathered_gradient_bytes for unit in units)
        if whole:
            self._reduce(whole, sum(unit.gradient_bytes for unit in units))

    def _reduce(self, whole: int, stored: int) -> None:
        """Reduces the gradients of a unit.

        Args:
            whole: Bytes of the whole gradients, in the dtype of the computation.
            stored: Bytes of this rank's share, in the dtype that is stored.
        """
        requests = self.requests
        requests.release(self._input)
        self._input = requests.allocate(whole)
        last = self._whole.pop() if self._whole else 0  # a loop variable refers to it
        self._release_whole()
        share = -(-whole // self._ranks)
        reduced = requests.allocate(share, Stream.REDUCE)
        if stored > share:
            low, reduced = reduced, requests.allocate(stored, Stream.REDUCE)
            requests.release(low)
        requests.release(last)
        if self._on_host or (self.exist and self._each):
            requests.release(reduced)
        else:
            self.gradients.append(reduced)

    def adds(self, *, is_last: bool) -> bool | None:
        """Returns None, since gradients are reduced."""
        return None

    def finish(self, gradient: int) -> None:
        """Takes a whole gradient, which waits for the end of its unit's backward or for the last micro-batch."""
        if self._each or not self.exist:
            self._whole.append(gradient)
        else:
            self.requests.release(gradient)

    def finish_shared(self, gradient: int) -> None:
        """Takes the whole gradient of a tied embedding, the first parameter of its unit."""
        self.finish(gradient)
        if self._whole and self._whole[-1] == gradient:
            self._whole.insert(0, self._whole.pop())

    def end_micro_batch(self) -> None:
        """Reshards what is still gathered."""
        for i in list(self._gathered):
            self._reshard(i)
        self._drop_buffers(list(self._buffers))
        self.requests.release(self._input)
        self._input = 0
        super().end_micro_batch()

    def clear(self) -> None:
        """Releases all gradients."""
        self._release_whole()
        super().clear()

    def _release_whole(self) -> None:
        while self._whole:
            self.requests.release(self._whole.pop(0))

    def _gather(self, i: int) -> None:
        """Gathers a unit into a buffer, from a copy of the shards where these are cast or on the host."""
        copied = self.requests.allocate(self._copied[i], Stream.GATHER) if self._copied[i] else 0
        self._buffers[i] = self.requests.allocate(sum(self._tensors[i]), Stream.GATHER)
        self.requests.release(copied)

    def _copy_out(self, i: int) -> None:
        """Copies the parameters of a unit out of its buffer."""
        self._gathered[i] = [self.requests.allocate(num_bytes) for num_bytes in self._tensors[i]]

    def _drop_buffers(self, units: Sequence[int]) -> None:
        for i in units:
            self.requests.release(self._buffers.pop(i))

    def _reshard(self, i: int) -> None:
        for storage in self._gathered.pop(i, ()):
            self.requests.release(storage)

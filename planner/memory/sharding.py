"""What sharding and replication add to each moment of a step: gathered parameters, buffers, gradients in flight.

FSDP2 as accelerate sets it up: every block is a unit; the input embedding is one, and the final norm with the head is
one that stays gathered from forward to backward (tied embeddings belong to it). Source: accelerate/utils/fsdp_utils.py,
`fsdp2_prepare_model`; torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from planner.memory.state import Unit, allocated
from strategies import Sharding


class Extra(NamedTuple):
    """Bytes beside a part's own: gathered parameters, communication buffers, and finished gradients."""

    unsharded: int = 0
    communication: int = 0
    gradients: int = 0


class Layout:
    """The bytes around part `i` of `0 (stem) ... n-2 (head), n-1 (loss)` in forward and backward.

    `gradients_exist`: the micro-batch is a later one of an accumulated step, so gradients are there from the start.
    `rooted`: the head is in the root's unit, which gathers the last block ahead as soon as the loss's backward begins.
    `waits_from`: the part after whose backward a gradient of the embedding waits, where that is not the head.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        sharding: Sharding,
        world_size: int,
        tied: bool,
        gradients_exist: bool,
        rooted: bool = False,
        waits_from: int | None = None,
    ) -> None:
        self.units, self.sharding, self.world_size = units, sharding, world_size
        self.tied, self.gradients_exist, self.rooted = tied, gradients_exist, rooted
        self._head = len(units) - 2
        self._waits_from = self._head if waits_from is None else waits_from
        self._gathered = [u.gathered_bytes for u in units]
        self._tied_gradient = 0
        if tied:  # the embedding, the first of the stem's tensors, belongs to the head's unit
            self._gathered[0], self._gathered[-2] = 0, self._gathered[0] + self._gathered[-2]
            trained = units[0].trained
            if trained and trained[0].is_embedding:
                self._tied_gradient = allocated(trained[0].whole_elements * trained[0].computed_itemsize)
        shares = [u.gradient_bytes for u in reversed(units)]
        self._suffix = (*accumulate(shares, initial=0),)[::-1]

    @property
    def all_gradients(self) -> int:
        return self._suffix[0]

    def _finished(self, i: int) -> int:
        """Gradients that exist when the backward of part i begins. From the head's backward on, its gradient of a tied
        weight waits for the embedding's, whole and beside an existing one."""
        existing = self.all_gradients if self.gradients_exist else self._suffix[i + 1]
        return existing + (self._tied_gradient if i < self._waits_from else 0)

    def gather(self, i: int) -> Extra:
        """The moment at which part i has been gathered in forward: `wait_for_unshard` still refers to the buffer of the
        unit before, which the all-gather state kept, while it copies out of its own."""
        extra = self.forward(i)
        if i == 0 or (self.tied and i >= self._head):
            return extra
        return extra._replace(communication=extra.communication + self._buffer(i - 1))

    def forward(self, i: int) -> Extra:
        """A gathered unit and its all-gather buffer, which is kept until the next unit has been copied out. The head's
        unit stays gathered for the loss, and with tied embeddings from the first moment on."""
        gradients = self.all_gradients if self.gradients_exist else 0
        if not self.sharding.shards:
            return Extra(gradients=gradients)
        if i >= self._head:
            # Tied, the head's unit was gathered for the embedding: the last buffer is that of the last block.
            return Extra(self._kept_from_forward(self._head), self._buffer(self._head - self.tied), gradients)
        return Extra(self._kept_from_forward(i) + self._tied_unit(i), self._buffer(i), gradients)

    def _buffer(self, i: int) -> int:
        """The all-gather of part i; that of a tied embedding is the head's unit's."""
        return self._gathered[i] or self._gathered[self._head]

    def _tied_unit(self, i: int) -> int:
        """The head's unit, where tied embeddings keep it gathered around another part: from the embedding's forward to
        the end of backward, since its inputs, the ids, have no gradient that would announce its end."""
        return self._gathered[self._head] if self.tied and i < self._head else 0

    def _kept_from_forward(self, i: int) -> int:
        """Gathered parameters of part i, and with SHARD_GRAD_OP of all before it."""
        return sum(self._gathered[: i + 1]) if self.sharding is Sharding.SHARD_GRAD_OP else self._gathered[i]

    def backward(self, i: int) -> Extra:
        """The gathered unit, the buffer of the one before it, prefetched when its own backward begins, and the
        reduce-scatter input of the one behind it."""
        finished = self._finished(i)
        if not self.sharding.shards:
            return Extra(gradients=finished)
        if i > self._head:
            ahead = self._prefetched(self._head) if self.rooted else 0
            return Extra(self._kept_from_forward(self._head), ahead, finished)
        gathered = self._kept_from_forward(i) + self._tied_unit(i)
        scattered = self.units[i + 1].gathered_gradient_bytes
        return Extra(gathered, self._prefetched(i) + scattered, finished)

    def _prefetched(self, i: int) -> int:
        return self._gathered[i - 1] if i and self.sharding is Sharding.FULL_SHARD else 0

    def reduce(self, i: int) -> Extra:
        """After the backward of part i: the input of its reduce-scatter, and its whole gradients, which are freed when
        they have been copied there, or this rank's share, also in the dtype of the stored parameters where that
        differs."""
        unit, kept = self.units[i], self._tied_unit(i) if i else 0
        whole, is_cast = unit.gathered_gradient_bytes, any(t.itemsize > t.computed_itemsize for t in unit.trained)
        share = -(-whole // self.world_size) + (unit.gradient_bytes if is_cast else 0)
        if self.sharding is Sharding.SHARD_GRAD_OP:
            kept += sum(self._gathered[:i])
        # The tied gradient has been added to the embedding's.
        finished = self._finished(i) - (0 if i else self._tied_gradient)
        return Extra(kept, self._prefetched(i) + whole, finished + max(whole, share))


def replication_buffers(units: Sequence[Unit], sharding: Sharding, world_size: int) -> int:
    """DDP's gradient buckets, as large as the gradients (`gradient_as_bucket_view=False`, Trainer's default)."""
    if sharding.shards or world_size == 1:
        return 0
    return sum(u.gradient_bytes for u in units)

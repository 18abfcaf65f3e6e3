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
    """

    def __init__(
        self, units: Sequence[Unit], sharding: Sharding, world_size: int, tied: bool, gradients_exist: bool
    ) -> None:
        self.units, self.sharding, self.world_size = units, sharding, world_size
        self.tied, self.gradients_exist = tied, gradients_exist
        self._gathered = [u.gathered_bytes for u in units]
        self._tied_gradient = 0
        if tied:  # the embedding, the first of the stem's tensors, belongs to the head's unit
            self._gathered[0], self._gathered[-2] = 0, self._gathered[0] + self._gathered[-2]
            trained = units[0].trained
            if trained and trained[0].is_embedding:
                self._tied_gradient = self._resident(allocated(trained[0].num_elements * trained[0].itemsize))
        shares = [self._resident(u.gradient_bytes) for u in reversed(units)]
        self._suffix = (*accumulate(shares, initial=0),)[::-1]

    def _resident(self, gradient_bytes: int) -> int:
        """A gradient's bytes between micro-batches, on one rank."""
        return -(-gradient_bytes // self.world_size) if self.sharding.shards else gradient_bytes

    @property
    def all_gradients(self) -> int:
        return self._suffix[0]

    def _finished(self, i: int) -> int:
        """Gradients that exist when the backward of part i begins. From the head's backward on, its gradient of a tied
        weight waits for the embedding's, beside an existing one."""
        existing = self.all_gradients if self.gradients_exist else self._suffix[i + 1]
        return existing + (self._tied_gradient if i < len(self.units) - 2 else 0)

    def forward(self, i: int) -> Extra:
        """A gathered unit and its all-gather buffer, which is kept until the next unit has been copied out. The head's
        unit stays gathered for the loss, and with tied embeddings from the first moment on."""
        gradients = self.all_gradients if self.gradients_exist else 0
        if not self.sharding.shards:
            return Extra(gradients=gradients)
        head = len(self.units) - 2
        if i >= head:
            # Tied, the head's unit was gathered for the embedding: the last buffer is that of the last block.
            buffer, gathered = self._gathered[head - self.tied], self._kept_from_forward(head)
        else:
            buffer = self._gathered[i] or self._gathered[head]
            gathered = self._kept_from_forward(i) + (self._gathered[head] if self.tied else 0)
        return Extra(gathered, buffer, gradients)

    def _kept_from_forward(self, i: int) -> int:
        """Gathered parameters of part i, and with SHARD_GRAD_OP of all before it."""
        return sum(self._gathered[: i + 1]) if self.sharding is Sharding.SHARD_GRAD_OP else self._gathered[i]

    def backward(self, i: int) -> Extra:
        """The gathered unit, the buffer of the one before it, prefetched when its own backward begins, and the
        reduce-scatter input of the one behind it."""
        finished, head = self._finished(i), len(self.units) - 2
        if not self.sharding.shards:
            return Extra(gradients=finished)
        if i > head:
            return Extra(self._kept_from_forward(head), 0, finished)
        gathered = self._gathered[head] if i == 0 and self.tied else self._kept_from_forward(i)
        scattered = self.units[i + 1].gathered_gradient_bytes
        return Extra(gathered, self._prefetched(i) + scattered, finished)

    def _prefetched(self, i: int) -> int:
        return self._gathered[i - 1] if i and self.sharding is Sharding.FULL_SHARD else 0

    def reduce(self, i: int) -> Extra:
        """After the backward of part i: its whole gradients, their reduce-scatter input, and this rank's share."""
        whole, kept = self.units[i].gathered_gradient_bytes, 0
        if self.sharding is Sharding.SHARD_GRAD_OP:
            kept = sum(self._gathered[:i])
        return Extra(kept, self._prefetched(i) + whole + -(-whole // self.world_size), self._finished(i) + whole)


def replication_buffers(units: Sequence[Unit], sharding: Sharding, world_size: int) -> int:
    """DDP's gradient buckets, as large as the gradients (`gradient_as_bucket_view=False`, Trainer's default)."""
    if sharding.shards or world_size == 1:
        return 0
    return sum(u.gradient_bytes for u in units)

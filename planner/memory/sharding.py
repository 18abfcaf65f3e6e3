"""What sharding and replication add to each moment of a step: gathered parameters, buffers, gradients in flight.

FSDP2 as accelerate sets it up: every block is a unit; the input embedding is one, and the final norm with the head is
one that stays gathered from forward to backward (tied embeddings belong to it). Source: accelerate/utils/fsdp_utils.py,
`fsdp2_prepare_model`; torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from planner.memory.state import Unit, allocated
from strategies import Sharding


class Extra(NamedTuple):
    """Bytes beside a part's own: gathered parameters, communication buffers, and finished gradients."""

    unsharded: int = 0
    communication: int = 0
    gradients: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The bytes around part `i` of `0 (stem) ... n-1 (head)` in forward and backward.

    `gradients_exist`: the micro-batch is a later one of an accumulated step, so gradients are there from the start.
    """

    units: Sequence[Unit]
    sharding: Sharding
    world_size: int
    tied: bool
    gradients_exist: bool
    _gathered: tuple[int, ...] = field(init=False)
    _suffix: tuple[int, ...] = field(init=False)
    _tied_gradient: int = field(init=False)
    """Of the shared weight, which is the first of the stem's tensors; 0 where it is not trained."""

    def __post_init__(self) -> None:
        gathered = [u.gathered_bytes for u in self.units]
        tied_gradient = 0
        if self.tied:  # the embedding belongs to the head's unit
            gathered[0], gathered[-1] = 0, gathered[0] + gathered[-1]
            trained = self.units[0].trained
            if trained and trained[0].is_embedding:
                tied_gradient = self._resident(allocated(trained[0].num_elements * trained[0].itemsize))
        shares = [self._resident(u.gradient_bytes) for u in reversed(self.units)]
        object.__setattr__(self, "_gathered", tuple(gathered))
        object.__setattr__(self, "_suffix", (*accumulate(shares, initial=0),)[::-1])
        object.__setattr__(self, "_tied_gradient", tied_gradient)

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
        return existing + (self._tied_gradient if i + 1 < len(self.units) else 0)

    def forward(self, i: int) -> Extra:
        """A gathered unit and its all-gather buffer, which is kept until the next unit has been copied out."""
        gradients = self.all_gradients if self.gradients_exist else 0
        if not self.sharding.shards:
            return Extra(gradients=gradients)
        tail = self._gathered[-1] if self.tied else 0
        buffer = self._gathered[i] or tail
        if self.sharding is Sharding.SHARD_GRAD_OP:
            gathered = sum(self._gathered[: i + 1]) + (tail if i < len(self.units) - 1 else 0)
        else:
            gathered = self._gathered[i] + (tail if i < len(self.units) - 1 else 0)
        return Extra(gathered, buffer, gradients)

    def backward(self, i: int) -> Extra:
        """The gathered unit, the buffer of the one before it (prefetched), and the reduce-scatter input of the one
        behind it."""
        if not self.sharding.shards:
            return Extra(gradients=self._finished(i))
        if self.sharding is Sharding.SHARD_GRAD_OP:
            gathered, prefetched = sum(self._gathered[: i + 1]), 0
        else:
            gathered, prefetched = self._gathered[i], self._gathered[i - 1] if i else 0
        if i == 0 and self.tied:
            gathered = self._gathered[-1]
        scattered = self.units[i + 1].gathered_gradient_bytes if i + 1 < len(self.units) else 0
        return Extra(gathered, prefetched + scattered, self._finished(i))

    def reduce(self, i: int) -> Extra:
        """After the backward of part i: its whole gradients and the reduce-scatter input made of them."""
        if not self.sharding.shards:
            return Extra(gradients=self._finished(i))
        unit = self.units[i]
        whole = unit.gathered_gradient_bytes
        share = -(-whole // self.world_size)
        if self.sharding is Sharding.SHARD_GRAD_OP:
            gathered, prefetched = sum(self._gathered[:i]), 0
        else:
            gathered, prefetched = 0, self._gathered[i - 1] if i else 0
        return Extra(gathered, prefetched + whole + share, self._finished(i) + whole)


def replication_buffers(units: Sequence[Unit], sharding: Sharding, world_size: int) -> int:
    """DDP's gradient buckets, as large as the gradients (`gradient_as_bucket_view=False`, Trainer's default)."""
    if sharding.shards or world_size == 1:
        return 0
    return sum(u.gradient_bytes for u in units)

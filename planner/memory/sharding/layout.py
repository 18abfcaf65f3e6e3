"""What sharding and replication add to each moment of a step: gathered parameters, buffers, gradients in flight.

FSDP2 as accelerate sets it up: every block is a unit; the input embedding is one, and the final norm with the head is
one that stays gathered from forward to backward (tied embeddings belong to it). Source: accelerate/utils/fsdp_utils.py,
`fsdp2_prepare_model`; torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.state import Unit, allocated
from strategies import AnyOptimizer, DataParallel, GradientBuckets, Replicated, Sharded
from strategies.sharding import ALL_RANKS


class Extra(NamedTuple):
    """Bytes beside a part's own: gathered parameters, communication buffers, and finished gradients."""

    unsharded: int = 0
    communication: int = 0
    gradients: int = 0


class Layout:
    """The bytes around part `i` of `0 (stem) ... n-2 (head), n-1 (loss)` in forward and backward.

    `gradients_exist`: the micro-batch is a later one of an accumulated step, so gradients are there from the start.
    `updates`: the optimizer that steps parameters in backward, which leaves no gradient behind.
    `rooted`: the head is in the root's unit, which gathers the last block ahead as soon as the loss's backward begins.
    `waits_from`: the part after whose backward a gradient of the embedding waits, where that is not the head.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        sharding: DataParallel,
        world_size: int,
        tied: bool,
        gradients_exist: bool,
        updates: AnyOptimizer | None = None,
        rooted: bool = False,
        waits_from: int | None = None,
    ) -> None:
        self.units, self.sharding, self.ranks = units, sharding, sharding.ranks(world_size)
        sharded = sharding if isinstance(sharding, Sharded) else None
        self._reshards = sharded is not None and sharded.reshards
        self._post_forward = sharded.reshard_size if sharded is not None else ALL_RANKS
        self._on_host = sharded is not None and sharded.on_host
        self._replicates = sharded is not None and sharded.replicas(world_size) > 1
        self.tied, self.gradients_exist, self.rooted = tied, gradients_exist, rooted
        self.in_buckets = bucketed(sharding, world_size) is GradientBuckets.VIEWS
        """DDP moves each gradient to its bucket when it is finished, in the last micro-batch of a step."""
        self._head = len(units) - 2
        self._waits_from = self._head if waits_from is None else waits_from
        self._gathered = [u.gathered_bytes for u in units]
        self._tied_gradient = 0
        if tied:  # the embedding, the first of the stem's tensors, belongs to the head's unit
            self._gathered[0], self._gathered[-2] = 0, self._gathered[0] + self._gathered[-2]
            trained = units[0].trained
            if trained and trained[0].is_embedding:
                self._tied_gradient = allocated(trained[0].num_elements * trained[0].computed_itemsize)
        self.updates = rule_of(updates) if updates is not None else None
        stay = not self._on_host and updates is None
        shares = [u.gradient_bytes if stay else 0 for u in reversed(units)]
        self._suffix = (*accumulate(shares, initial=0),)[::-1]
        reduced = [self._reduced(u) for u in reversed(units)]
        self._reduced_suffix = (*accumulate(reduced, initial=0),)[::-1]
        shards = [g // self._post_forward if self._post_forward else 0 for g in self._gathered[: self._head]]
        self._post_forward_prefix = (*accumulate([*shards, 0, 0], initial=0),)

    def _share(self, num_bytes: int) -> int:
        """One rank's, of what is divided."""
        return -(-num_bytes // self.ranks)

    def _reduced(self, unit: Unit) -> int:
        """What a unit keeps of its all-reduce over the replicas until backward ends, `_all_reduce_state`, where that is
        not the gradient itself, which it is added to or cast for."""
        apart = self.gradients_exist or self._on_host or _is_cast(unit)
        return self._share(unit.gathered_gradient_bytes) if self._replicates and apart else 0

    @property
    def grows(self) -> bool:
        """The gradients of a part come on top of those that exist while its backward runs; otherwise each is added in
        place, or moved, and freed."""
        return self.sharding.shards or not (self.gradients_exist or self.in_buckets)

    @property
    def at_step(self) -> int:
        """Gradients at the optimizer step."""
        return 0 if self.in_buckets else self.all_gradients

    def left(self, without_backward: int) -> int:
        """What so many first parts, whose backward never runs, still have of forward when the optimizer steps."""
        return self._post_forward_prefix[without_backward] if self._reshards else 0

    @property
    def all_gradients(self) -> int:
        return self._suffix[0]

    def _finished(self, i: int) -> int:
        """Gradients that exist when the backward of part i begins. From the head's backward on, its gradient of a tied
        weight waits for the embedding's, whole and beside an existing one."""
        existing = 0 if self.in_buckets else self._suffix[i + 1]
        existing = self.all_gradients if self.gradients_exist else existing
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
        return Extra(self._kept_from_forward(i) + self._around(i), self._buffer(i), gradients)

    def _buffer(self, i: int) -> int:
        """The all-gather of part i; that of a tied embedding is the head's unit's."""
        return self._gathered[i] or self._gathered[self._head]

    def _around(self, i: int) -> int:
        """The head's unit, where tied embeddings or the root keep it gathered around another part: from the embedding's
        forward to the end of backward, since its inputs, the ids, have no gradient that would announce its end."""
        return self._gathered[self._head] if (self.tied or self.rooted) and i < self._head else 0

    def _kept_from_forward(self, i: int) -> int:
        """Gathered parameters of part i, and of all before it: with SHARD_GRAD_OP whole, else this rank's copy of what
        is sharded over fewer ranks (`to_sharded_post_forward`)."""
        if not self._reshards:
            return sum(self._gathered[: i + 1])
        return self._gathered[i] + self._post_forward_prefix[i]

    def backward(self, i: int) -> Extra:
        """The gathered unit, the buffer of the one before it, prefetched when its own backward begins, and the
        reduce-scatter input of the one behind it."""
        finished = self._finished(i)
        if not self.sharding.shards:
            return Extra(gradients=finished)
        if i > self._head:
            ahead = self._prefetched(self._head) if self.rooted else 0
            return Extra(self._kept_from_forward(self._head), ahead, finished)
        gathered = self._kept_from_forward(i) + self._around(i)
        scattered = self.units[i + 1].gathered_gradient_bytes
        return Extra(gathered, self._prefetched(i) + scattered + self._reduced_suffix[i + 1], finished)

    def prefetch(self, i: int) -> Extra:
        """When the backward of part i begins and the part before it is gathered: from the host, its shards come first
        (`all_gather_inputs`)."""
        extra = self.backward(i)
        shards = self._share(self._prefetched(i)) if self._on_host and i <= self._head else 0
        return extra._replace(communication=extra.communication + shards)

    def _prefetched(self, i: int) -> int:
        return self._gathered[i - 1] if i and self._reshards else 0

    def reduce(self, i: int) -> Extra:
        """After the backward of part i: the input of its reduce-scatter beside what `_reducing` needs."""
        unit, kept = self.units[i], self._around(i) if i else 0
        kept += self._post_forward_prefix[i] if self._reshards else sum(self._gathered[:i])
        communication = self._prefetched(i) + unit.gathered_gradient_bytes + self._reduced_suffix[i + 1]
        # The tied gradient has been added to the embedding's.
        finished = self._finished(i) - (0 if i else self._tied_gradient)
        return Extra(kept, communication, finished + self._reducing(i))

    def _reducing(self, i: int) -> int:
        """The whole gradients, which are freed when they have been copied; then but the last of them, which a variable
        of the loop over them still refers to, beside this rank's share, which is cast where it is stored in another
        dtype, and then updated in backward (`foreach_reduce`, which calls the hooks when all shares are there)."""
        unit, whole = self.units[i], self.units[i].gathered_gradient_bytes
        last = (self.units[self._head].trained if self.tied and not i else ()) or unit.trained
        left = allocated(last[-1].num_elements * last[-1].computed_itemsize) if last else 0
        reduced, share = self._share(whole), unit.gradient_bytes if _is_cast(unit) else 0
        updated = (share or reduced) + (reduced if share and self._replicates else 0)
        if self.updates is not None and not self._on_host:
            updated += max((self.updates.temporaries_of(t, self.ranks) for t in unit.trained), default=0)
        return max(whole, left + reduced + share, left + updated)


def _is_cast(unit: Unit) -> bool:
    """Whether gradients are kept in another dtype than backward makes them in."""
    return any(t.itemsize > t.computed_itemsize for t in unit.trained)


def bucketed(sharding: DataParallel, world_size: int) -> GradientBuckets | None:
    """What DDP's buckets are, where there are any."""
    return sharding.gradient_buckets if isinstance(sharding, Replicated) and world_size > 1 else None


def replication_buffers(units: Sequence[Unit], sharding: DataParallel, world_size: int) -> int:
    """DDP's gradient buckets, as large as the gradients: beside them, or, from the first reduction on, they are
    (torch/csrc/distributed/c10d/reducer.cpp, `mark_variable_ready_dense`)."""
    return sum(u.gradient_bytes for u in units) if bucketed(sharding, world_size) else 0

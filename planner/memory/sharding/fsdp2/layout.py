"""Computes what FSDP2 adds to each moment: gathered parameters and communication buffers.

FSDP2 is modelled as accelerate sets it up. Every block is a unit, and so is the input embedding. The final norm and the
head form one unit that stays gathered from forward to backward; tied embeddings belong to it. Sources:
accelerate/utils/fsdp_utils.py, `fsdp2_prepare_model`; torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and
_fsdp_collectives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from planner.memory.sharding.account import Unit
from planner.memory.sharding.fsdp2.gradients import Gradients
from planner.memory.sharding.layout import ONLY, Ends, Extra, Layout, MicroBatch, Turn
from strategies import Fsdp2


class Fsdp2Layout(Layout):
    """Computes the bytes around each part in forward and backward, on one rank.

    Parts are numbered `0` (stem), `1 ... n-3` (blocks), `n-2` (head) and `n-1` (loss).

    Args:
        units: The parameters of each part, in that order.
        sharding: How the model is replicated or sharded.
        world_size: The number of ranks.
        ends: How embedding and head hang together: a tied embedding belongs to the head's unit, and a root prefetches
            the last block as soon as the loss's backward begins.
        micro_batch: Which micro-batch of the step runs. An evaluation before it leaves gathered what backward would
            free, and is taken for the forward before the step's by whoever gathers ahead
            (`FSDPCommContext.post_forward_order`).
    """

    gathers = True

    def __init__(
        self,
        units: Sequence[Unit],
        sharding: Fsdp2,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch = ONLY,
    ) -> None:
        self._gradients = Gradients(units, sharding, world_size, ends, micro_batch)
        units = grouped(units, ends)
        self.units, self.sharding, self.ranks = units, sharding, sharding.ranks(world_size)
        self._reshards, self._post_forward, self._on_host = sharding.reshards, sharding.reshard_size, sharding.on_host
        self.tied, self.rooted = ends.tied, ends.rooted
        self._follows = micro_batch.evaluates and micro_batch.turn in (Turn.ONLY, Turn.FIRST)
        """Whether the micro-batch can follow an evaluation."""
        self._head = len(units) - 2
        self._gathered = [u.gathered_bytes for u in units]
        self._copied = [self._share(u.gathered_bytes) if self._on_host else self._cast(u) for u in units]
        """Bytes that this rank copies of each unit in order to gather it ahead."""
        if self.tied:  # the embedding, the first of the stem's tensors, belongs to the head's unit
            self._gathered[0], self._gathered[-2] = 0, self._gathered[0] + self._gathered[-2]
            self._copied[0] = 0
        self._stays = self.tied or self.rooted
        """Whether the head's unit is gathered for the stem, whether or not the model is evaluated."""
        self._lingers = self._gathered[self._head] if self._follows and not self._stays else 0
        """Bytes of the head's unit that an evaluation has left gathered."""
        shards = [g // self._post_forward if self._post_forward else 0 for g in self._gathered[: self._head]]
        self._post_forward_prefix = (*accumulate([*shards, 0, 0], initial=0),)

    def _share(self, num_bytes: int) -> int:
        """Returns one rank's share of bytes that are divided among all ranks, rounded up."""
        return -(-num_bytes // self.ranks)

    def _cast(self, unit: Unit) -> int:
        """Returns the bytes of a rank's part of a unit that are cast when backward gathers it.

        Whatever has another dtype at first is copied into one tensor, also of what forward left of the unit
        (`_get_param_all_gather_inputs`).
        """
        return unit.cast_bytes * self.ranks // (self._post_forward or self.ranks)

    @property
    def gradients_exist(self) -> bool:
        """Whether all gradients exist when the micro-batch begins."""
        return self._gradients.exist

    @property
    def grows(self) -> bool:
        """Whether the gradients that a part finishes add to the existing ones while its backward runs."""
        return self._gradients.grow

    @property
    def all_gradients(self) -> int:
        """Bytes of this rank's shards of all gradients; 0 where they are on the host or updates run in backward."""
        return self._gradients.all

    @property
    def at_step(self) -> int:
        """Bytes of gradients at the optimizer step."""
        return self.all_gradients

    def left(self, without_backward: int) -> int:
        """Returns the bytes that FSDP2 still keeps from forward when the optimizer steps.

        Args:
            without_backward: The number of first parts whose backward never runs, so that nothing frees their shards.
        """
        return self._post_forward_prefix[without_backward] if self._reshards else 0

    def gather(self, i: int) -> Extra:
        """Returns the bytes at the moment when part `i` has been gathered in forward.

        The previous unit's buffer, which the all-gather state kept, is still alive: `wait_for_unshard` refers to it
        while it copies out of the buffer of part `i`.
        """
        extra = self._forward(i)
        if i and not (self._stays and i >= self._head):
            extra = extra._replace(communication=extra.communication + self._buffer(i - 1))
        elif not i and self.rooted and not self.tied:  # the root was gathered before the embedding's unit
            extra = extra._replace(communication=extra.communication + self._buffer(self._head))
        return self._after_evaluation(i, extra, left=i)

    def forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i`: gathered parameters, a buffer and existing gradients.

        The unit's all-gather buffer is kept until the next unit has been copied out. The head's unit stays gathered for
        the loss; with tied embeddings it is gathered from the first moment on.
        """
        return self._after_evaluation(i, self._forward(i), left=i + 1)

    def _after_evaluation(self, i: int, extra: Extra, *, left: int) -> Extra:
        """Returns the larger of two: `extra`, the bytes around part `i`, and those where an evaluation ran before.

        Then the head's unit is gathered from the first moment on, and all units are if forward does not reshard them.
        What it left of units, from part `left` on, is still there. In the head, the last buffer is the last block's.
        """
        if not self._follows:
            return extra
        if i >= self._head:
            buffer = self._buffer(self._head - 1) if self._reshards else 0
            return extra._replace(communication=max(extra.communication, buffer))
        if self._reshards:
            shards = self._post_forward_prefix[self._head] - self._post_forward_prefix[left]
            return extra._replace(unsharded=extra.unsharded + self._lingers + shards)
        return max(extra, Extra(self._kept_from_forward(self._head), 0, extra.gradients), key=sum)

    def _forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i` in a step that follows no evaluation."""
        gradients = self._gradients.existing(len(self.units)) if self.gradients_exist else 0
        if i >= self._head:
            # Where the head's unit was gathered for the stem, the last buffer is the last block's.
            return Extra(self._kept_from_forward(self._head), self._buffer(self._head - self._stays), gradients)
        return Extra(self._kept_from_forward(i) + self._around(i), self._buffer(i), gradients)

    def _buffer(self, i: int) -> int:
        """Returns the bytes of part `i`'s all-gather buffer; a tied embedding is gathered with the head's unit."""
        return self._gathered[i] or self._gathered[self._head]

    def _around(self, i: int) -> int:
        """Returns the bytes of the head's unit where it stays gathered around another part `i`.

        Tied embeddings or the root keep it gathered from the embedding's forward to the end of backward: the inputs are
        token ids, which have no gradient that could tell FSDP2 that the unit's backward is over.
        """
        return self._gathered[self._head] if self._stays and i < self._head else 0

    def _kept_from_forward(self, i: int) -> int:
        """Returns the bytes of gathered parameters of part `i` and of what forward left of the parts before it.

        With SHARD_GRAD_OP these stay unsharded; otherwise this rank keeps a shard of them where they are resharded over
        fewer ranks (`to_sharded_post_forward`).
        """
        if not self._reshards:
            return sum(self._gathered[: i + 1])
        return self._gathered[i] + self._post_forward_prefix[i]

    def backward(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i`.

        These are the gathered unit, the buffer of unit `i - 1`, which is prefetched when this backward begins, the
        reduce-scatter input of unit `i + 1`, and the gradients that exist.
        """
        finished = self._gradients.finished(i)
        if i > self._head:
            ahead = self._prefetched(self._head) if self.rooted else 0
            return Extra(self._kept_from_forward(self._head), ahead, finished)
        gathered = self._kept_from_forward(i) + self._around(i)
        communication = self._prefetched(i) + self._gradients.scattered[i + 1] + self._gradients.reduced_from[i + 1]
        return Extra(gathered, communication, finished)

    def prefetch(self, i: int) -> Extra:
        """Returns the bytes when the backward of part `i` begins: the larger of two moments.

        First the part is copied out of its buffer; what forward left of it is alive until `to_unsharded`. Then that and
        the buffer are freed and part `i - 1` is gathered, from a copy of shards that are cast or on the host.
        """
        extra, ahead = self.backward(i), self._prefetched(i)
        shards = self._copied[i - 1 if i else self._head] if ahead and i <= self._head else 0
        copied = left = 0
        if self._reshards and i < self._head:
            copied, left = self._gathered[i], self._post_forward_prefix[i + 1] - self._post_forward_prefix[i]
        if copied + left > ahead + shards:
            communication = extra.communication - ahead + copied
            return extra._replace(unsharded=extra.unsharded + left, communication=communication)
        return extra._replace(communication=extra.communication + shards)

    def _prefetched(self, i: int) -> int:
        """Returns the bytes of unit `i - 1`, gathered ahead during the backward of part `i`; 0 if it stays gathered.

        Before the stem comes the head, where an evaluation ran before the step.
        """
        if not i:
            return self._lingers
        return self._gathered[i - 1] if self._reshards else 0

    def reduce(self, i: int) -> Extra:
        """Returns the bytes after the backward of part `i`, while its gradients are reduce-scattered.

        They include the input of the reduce-scatter and what `Gradients.reducing` says.
        """
        gradients, kept = self._gradients, self._around(i) if i else 0
        unit = gradients.units[i]
        kept += self._post_forward_prefix[i] if self._reshards else sum(self._gathered[:i])
        # After the stem's backward the gradient that waited has been added to the embedding's.
        finished = gradients.finished(i) - (0 if i else gradients.tied_gradient)
        if not gradients.reduces:
            own = 0 if gradients.exist else unit.whole_gradient_bytes
            return Extra(kept, self._prefetched(i), finished + own)
        if self.rooted and i == self._head:
            return Extra(kept, self._prefetched(i), gradients.existing(i))
        if gradients.apart and not i:
            return self._reduce_apart(*gradients.apart)
        communication = self._prefetched(i) + gradients.scattered[i] + gradients.reduced_from[i + 1]
        before = unit.whole_gradient_bytes if gradients.keeps_whole else 0  # `reducing` counts them
        return Extra(kept, communication, finished - before + gradients.reducing(i))

    def _reduce_apart(self, embedding: Unit, root: Unit) -> Extra:
        """Returns the larger of two moments: the root's gradients are reduced, then those of the embedding."""
        communication = self._prefetched(0) + self._gradients.reduced_from[1]
        first, second = self._gradients.reducing_apart(embedding, root)
        of_root = Extra(self._gathered[0], communication + root.gathered_gradient_bytes, first)
        return max(of_root, Extra(0, communication + embedding.gathered_gradient_bytes, second), key=sum)


def grouped(units: Sequence[Unit], ends: Ends) -> Sequence[Unit]:
    """Returns the units in which FSDP2 gathers the parts' parameters.

    Where the head belongs to the root and the embedding does not, the root has what the stem has beside it.
    """
    apart = units[0].regrouped
    if apart is None or ends.tied or not ends.rooted:
        return units
    embedding, root = apart
    return [embedding, *units[1:-2], root, units[-1]]

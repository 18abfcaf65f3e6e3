"""Follows the gradients of ZeRO 1 and 2: buckets in which they are reduced, and the rank's part that is kept.

Source: deepspeed/runtime/zero/stage_1_and_2.py, DeepSpeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.libraries.allocator import allocated
from planner.memory.autograd.marks import Happening
from planner.memory.sharding.deepspeed.flat import Flat, Owned
from planner.memory.sharding.deepspeed.offloaded import norms, sent
from planner.memory.sharding.deepspeed.run import Run
from planner.memory.sharding.layout import Extra, Turn


class Reduced(Run):
    """Follows one micro-batch of stage 1 or 2.

    In stage 2 each finished gradient is copied into the bucket and freed. One that is larger than the bucket stays as
    it is until the next is finished. When the bucket is full it is reduced, and what belongs to this rank's share is
    copied into a buffer for whole gradients of all parameters that the share touches (`grads_in_partition`).

    In stage 1 gradients accumulate as without DeepSpeed; they go through the bucket after the step's last backward.

    Args:
        flat: The parameters.
        rank: The rank that is followed.
        bucket: Elements of a bucket.
        buckets: Number of buckets.
        partitions: Whether gradients are divided while backward runs (stage 2).
        turn: Which micro-batch of the step runs.
        on_host: Whether the optimizer is on the host, to which this rank's part is sent slice by slice.
    """

    ignored = tuple(kind for kind in Happening if kind is not Happening.GRADIENT)

    def __init__(
        self, flat: Flat, rank: int, bucket: int, buckets: int, partitions: bool, turn: Turn, on_host: bool
    ) -> None:
        super().__init__((flat.key, rank, bucket, buckets, partitions, turn, on_host))
        self.flat, self.bucket, self.partitions, self.turn, self.on_host = flat, bucket, partitions, turn, on_host
        self._buffers = buckets * allocated(bucket * flat.itemsize)
        self._mine = {
            flat.groups[g][p.number].number: p.elements for g, found in enumerate(flat.pieces(rank)) for p in found
        }
        self.kept = 0 if on_host else kept_gradients(flat, rank)
        self.alive.communication += norms(flat, rank, divided=False) if on_host else 0
        self._elements, self._waiting = 0, list[Owned]()
        self._large = 0
        """Bytes of a gradient that does not fit into the bucket and waits for the next."""
        self._has_buffers = self._has_kept = False
        all_gradients = sum(allocated(p.num_bytes) for group in flat.groups for p in group)
        if turn.finds_gradients:
            self.alive.gradients += self.kept if partitions else all_gradients
            if not partitions:  # the first micro-batch of the step made them
                self._take_buffers()

    def happens(self, part: int, kind: Happening, name: str) -> Iterator[Extra]:
        """Follows a finished gradient, which is still on the part's account."""
        parameter = self.flat.find(part, name)
        self._take_buffers()
        yield self.alive.extra()
        if self.partitions:
            yield from self._add(parameter)
        elif not self.turn.finds_gradients:
            self.alive.gradients += allocated(parameter.num_bytes)

    def ends(self) -> Iterator[Extra]:
        """Follows the reduction of what is left, and the accumulation of this rank's gradients."""
        if not self.partitions:
            if self.turn in (Turn.FIRST, Turn.LATER):
                return
            for group in self.flat.groups:
                for parameter in group:
                    yield from self._add(parameter)
                    self.alive.gradients -= allocated(parameter.num_bytes)  # `_add` counts it again if it waits
        yield from self._reduce()
        if self.partitions and self.turn.finds_gradients:
            self.alive.gradients -= self.kept  # added to those of earlier micro-batches
        self.alive.communication -= self._buffers
        yield self.alive.extra()

    def _take_buffers(self) -> None:
        """Allocates the buckets at the first gradient (`setup_buckets`)."""
        if not self._has_buffers:
            self._has_buffers = True
            self.alive.communication += self._buffers

    def _add(self, parameter: Owned) -> Iterator[Extra]:
        """Follows `reduce_independent_p_g_buckets_and_remove_grads`."""
        if self._elements + parameter.num_elements > self.bucket:
            yield from self._reduce()
        if parameter.num_elements > self.bucket:
            self._large = allocated(parameter.num_bytes)
            self.alive.gradients += self._large
        self._elements += parameter.num_elements
        self._waiting.append(parameter)

    def _reduce(self) -> Iterator[Extra]:
        """Follows `reduce_ipg_grads`: what belongs to several ranks is copied into one tensor for the collective."""
        for elements in self._flattened():
            yield self.alive.extra(allocated(elements * self.flat.itemsize))
        if not self._has_kept and any(p.number in self._mine for p in self._waiting):
            self._has_kept = True
            self.alive.gradients += self.kept
            yield self.alive.extra()
        if self.on_host:
            for parameter in self._waiting:
                if parameter.number in self._mine:
                    yield self.alive.extra(sent(self._mine[parameter.number]))
        # `zero stage 1` clears no gradient but moves those of its share; others go when the optimizer steps
        if self.partitions or any(p.number in self._mine for p in self._waiting):
            self.alive.gradients -= self._large
        self._large = self._elements = 0
        self._waiting.clear()

    def _flattened(self) -> Iterator[int]:
        """Yields the elements of each tensor that `allreduce_and_scatter` flattens from several slices."""
        slices: list[tuple[int, int]] = []
        for parameter in self._waiting:
            for owner, elements in self._owners(parameter):
                if slices and slices[-1][0] == owner:
                    slices[-1] = (owner, slices[-1][1] + elements)
                else:
                    slices.append((owner, elements))
        number = total = 0
        for _, elements in slices:
            number, total = number + 1, total + elements
            if total > self.bucket:
                if number > 1:
                    yield total
                number = total = 0
        if number > 1:
            yield total

    def _owners(self, parameter: Owned) -> Iterator[tuple[int, int]]:
        """Yields the ranks whose shares a parameter touches, each with its elements there."""
        size = self.flat.sizes[parameter.group]
        offset = self.flat.offsets[parameter.group][parameter.place]
        end = offset + parameter.num_elements
        for rank in range(offset // size, (end - 1) // size + 1):
            yield rank, min(end, (rank + 1) * size) - max(offset, rank * size)


def kept_gradients(flat: Flat, rank: int) -> int:
    """Returns the bytes of whole gradients of all parameters that a rank's share touches."""
    found = (flat.groups[g][p.number].num_elements for g, of in enumerate(flat.pieces(rank)) for p in of)
    return allocated(sum(found) * flat.itemsize)

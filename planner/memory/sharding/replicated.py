"""Computes what DDP adds to each moment: gradients, and buckets in which they are reduced."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from planner.libraries.allocator import allocated
from planner.memory.sharding.account import Unit
from planner.memory.sharding.layout import ONLY, Ends, Extra, Layout, MicroBatch
from strategies import DataParallel, GradientBuckets, Replicated


class ReplicatedLayout(Layout):
    """Computes the bytes around each part where every rank keeps the whole model.

    Args:
        units: The parameters of each part.
        sharding: How the model is replicated.
        world_size: The number of ranks.
        ends: How embedding and head hang together.
        micro_batch: Which micro-batch of the step runs.
    """

    gathers = False

    def __init__(
        self,
        units: Sequence[Unit],
        sharding: Replicated,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch = ONLY,
    ) -> None:
        self.gradients_exist = micro_batch.turn.finds_gradients
        self.in_buckets = bucketed(sharding, world_size) is GradientBuckets.VIEWS
        """Whether DDP moves each finished gradient into its bucket, in the last micro-batch of a step."""
        self._tied_gradient = tied_gradient(units[0]) if ends.tied else 0
        self._waits_from = len(units) - 2 if ends.waits_from is None else ends.waits_from
        shares = [u.gradient_bytes if micro_batch.updates is None else 0 for u in reversed(units)]
        self._suffix = (*accumulate(shares, initial=0),)[::-1]

    @property
    def grows(self) -> bool:
        """Whether the gradients that a part finishes add to the existing ones while its backward runs.

        Otherwise each is added in place to an existing gradient, or moved into its bucket, and freed.
        """
        return not (self.gradients_exist or self.in_buckets)

    @property
    def all_gradients(self) -> int:
        """Bytes of the gradients of all parts; 0 where updates run in backward."""
        return self._suffix[0]

    @property
    def at_step(self) -> int:
        """Bytes of gradients at the optimizer step; 0 where they are views of DDP's buckets."""
        return 0 if self.in_buckets else self.all_gradients

    def forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i`: the gradients of earlier micro-batches."""
        return Extra(gradients=self.all_gradients if self.gradients_exist else 0)

    def backward(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i`: the gradients that exist when it begins.

        After the head's backward (or that of part `waits_from`) its gradient of the tied weight waits for the
        embedding's, in addition to a gradient that exists already.
        """
        existing = 0 if self.in_buckets else self._suffix[i + 1]
        existing = self.all_gradients if self.gradients_exist else existing
        return Extra(gradients=existing + (self._tied_gradient if i < self._waits_from else 0))


def tied_gradient(stem: Unit) -> int:
    """Returns the bytes of the gradient of a tied embedding, the first of the stem's trained tensors; 0 if frozen."""
    trained = stem.trained
    if not trained or not trained[0].is_embedding:
        return 0
    return allocated(trained[0].num_elements * trained[0].computed_itemsize)


def bucketed(sharding: DataParallel, world_size: int) -> GradientBuckets | None:
    """Returns what DDP's gradient buckets are: copies or views; None where there are no buckets."""
    return sharding.gradient_buckets if isinstance(sharding, Replicated) and world_size > 1 else None


def replication_buffers(units: Sequence[Unit], sharding: DataParallel, world_size: int) -> int:
    """Returns the bytes of DDP's gradient buckets, which are as large as the gradients; 0 without DDP.

    Copies exist in addition to the gradients. With views the gradients themselves are in the buckets from the first
    reduction on (torch/csrc/distributed/c10d/reducer.cpp, `mark_variable_ready_dense`).
    """
    return sum(u.gradient_bytes + u.skipped_bytes for u in units) if bucketed(sharding, world_size) else 0

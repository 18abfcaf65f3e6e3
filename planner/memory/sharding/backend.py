"""Defines what a backend of the sharding axis decides.

A backend says how a rank stores each part's parameters, what is around each part during a step, what stays for the
whole run, and what the optimizer step takes. Adding one is a subclass of `Backend` in a module of its own and a line in
`backends.BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from planner.memory.sharding.account import Account, Unit
from planner.memory.sharding.host import OnHost
from planner.memory.sharding.layout import Ends, Layout, MicroBatch, Turn
from planner.memory.sharding.partition import Partition
from planner.memory.sharding.persistent import Persistent
from planner.memory.sharding.replicated import ReplicatedLayout, replication_buffers
from strategies import AnyOptimizer, FullySharded, GradientSync


class AtStep(NamedTuple):
    """Bytes at the peak of the optimizer step, in addition to what persists."""

    gradients: int
    temporaries: int


class Backend:
    """Says what one value of the sharding axis means for a rank's memory; the base class is DDP's."""

    account: type[Account] = Account
    """Adds up what a rank stores of a part."""
    is_checkpointed = False
    """Whether reentrant checkpoints are around its units, whose hooks then run in the recomputation as well."""
    casts_on_host = True
    """Whether weights that are stored in fp32 are so in the host's memory, whole on every rank, while being loaded."""
    keeps_what_evaluations_gather = False
    """Whether a step that follows an evaluation finds units that this has left gathered."""
    communicators = 1
    """Communicators of all ranks: that of the process group, which Trainer uses, and those that it adds."""
    marked = False
    """Whether it acts on each parameter, so that parts have to tell what happens to them."""

    def turns(self, sharding: Any, micro_batches: int) -> tuple[Turn, ...]:
        """Returns the micro-batches of a step that can be the largest.

        Args:
            sharding: The value of the axis.
            micro_batches: Micro-batches per optimizer step: 1, 2, or 3 for more.
        """
        return (Turn.ONLY,) if micro_batches == 1 else (Turn.LATER,)

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Any,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch,
    ) -> Layout:
        """Returns what is around each part in one micro-batch.

        Args:
            units: The parameters of each part.
            sharding: The value of the axis.
            world_size: The number of ranks.
            ends: How embedding and head hang together.
            micro_batch: Which micro-batch of the step runs.
        """
        return ReplicatedLayout(units, sharding, world_size, ends, micro_batch)

    def partition(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Any,
        world_size: int,
        *,
        apart: bool,
        itemsize: int,
        in_fp16: bool = False,
    ) -> Any:
        """Returns what the optimizer keeps and allocates.

        Args:
            units: The parameters of each part.
            optimizer: The optimizer.
            sharding: The value of the axis.
            world_size: The number of ranks.
            apart: Whether each tensor has an optimizer of its own.
            itemsize: Bytes per element of the weights that the optimizer steps, where it has copies of them.
            in_fp16: Whether the step computes in fp16, whose gradients can overflow.
        """
        return Partition(units, optimizer, sharding, world_size, apart=apart)

    def persistent(self, units: Sequence[Unit], sharding: Any, world_size: int, partition: Any) -> Persistent:
        """Returns what stays for the whole run."""
        stored, buckets = sum(u.stored_bytes for u in units), replication_buffers(units, sharding, world_size)
        return Persistent(stored, partition.states, buckets)

    def at_setup(self, sharding: Any, partition: Any) -> int:
        """Returns the bytes on the GPU while ranks divide the weights, or 0 where a step exceeds them."""
        return 0

    def at_step(self, layout: Layout, sharding: Any, partition: Any, updates: AnyOptimizer | None) -> AtStep:
        """Returns the bytes at the optimizer step, which leaves nothing to do where parameters step in backward."""
        runs = updates is None and not sharding.on_host
        return AtStep(layout.at_step, partition.temporaries if runs else 0)

    def on_host(
        self,
        units: Sequence[Unit],
        sharding: Any,
        world_size: int,
        partition: Any,
        *,
        updates: bool,
        accumulates: bool,
    ) -> OnHost:
        """Returns what one rank keeps in the host's memory.

        Args:
            units: The parameters of each part.
            sharding: The value of the axis.
            world_size: The number of ranks.
            partition: What `partition` returned.
            updates: Whether parameters are stepped in backward.
            accumulates: Whether a step has several micro-batches.
        """
        return OnHost(*partition.on_host)


class ShardedBackend(Backend):
    """Divides parameters, gradients and states among the ranks; the base class of FSDP1 and FSDP2."""

    def turns(self, sharding: FullySharded, micro_batches: int) -> tuple[Turn, ...]:
        """Returns the micro-batches that can be the largest; the first is smaller than later ones in all respects."""
        if sharding.gradient_sync is GradientSync.EACH or micro_batches == 1:
            return super().turns(sharding, micro_batches)
        return (Turn.FIRST, Turn.LAST) if micro_batches == 2 else (Turn.LATER, Turn.LAST)

    def persistent(
        self, units: Sequence[Unit], sharding: FullySharded, world_size: int, partition: Partition
    ) -> Persistent:
        """Returns a rank's shards; with an offload they are in the host's memory, and buffers alone stay."""
        if sharding.on_host:
            return Persistent(sum(u.buffer_bytes for u in units), 0, 0)
        return Persistent(sum(u.stored_bytes for u in units), partition.states, 0)

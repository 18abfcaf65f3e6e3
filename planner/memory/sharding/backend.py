"""Defines what a backend of the sharding axis decides, and lists the backends.

A backend says how a rank stores each part's parameters, what is around each part during a step, what stays for the
whole run, and what the optimizer step takes. Adding one is a subclass of `Backend` in a module of its own and a line in
`BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from planner.memory.sharding.account import Account, TrainedTensor, Unit
from planner.memory.sharding.deepspeed.flat import (
    ParameterAccount,
    divided_weights,
    gradient_buffers,
    small_weights,
    stored_weights,
)
from planner.memory.sharding.deepspeed.layout import ZeroLayout
from planner.memory.sharding.deepspeed.offloaded import accumulation_buffer
from planner.memory.sharding.deepspeed.stepped import FlatOptimizer
from planner.memory.sharding.flat import FlatAccount, first_shares
from planner.memory.sharding.fsdp1 import Fsdp1Layout
from planner.memory.sharding.fsdp2 import Fsdp2Layout
from planner.memory.sharding.layout import Ends, Layout, Turn
from planner.memory.sharding.partition import Partition
from planner.memory.sharding.persistent import Persistent
from planner.memory.sharding.replicated import ReplicatedLayout, replication_buffers
from strategies import AnyOptimizer, DataParallel, Fsdp1, Fsdp2, GradientSync, Replicated, Zero


class AtStep(NamedTuple):
    """Bytes at the peak of the optimizer step, in addition to what persists."""

    gradients: int
    temporaries: int


class Backend:
    """Says what one value of the sharding axis means for a rank's memory; the base class is DDP's."""

    account: type[Account] = Account
    """Adds up what a rank stores of a part."""
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
        turn: Turn,
        updates: AnyOptimizer | None,
    ) -> Layout:
        """Returns what is around each part in one micro-batch; `updates` steps parameters in backward, if given."""
        return ReplicatedLayout(units, sharding, world_size, ends, turn, updates)

    def partition(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Any,
        world_size: int,
        *,
        apart: bool,
        itemsize: int,
    ) -> Any:
        """Returns what the optimizer keeps and allocates.

        Args:
            units: The parameters of each part.
            optimizer: The optimizer.
            sharding: The value of the axis.
            world_size: The number of ranks.
            apart: Whether each tensor has an optimizer of its own.
            itemsize: Bytes per element of the weights that the optimizer steps, where it has copies of them.
        """
        return Partition(units, optimizer, sharding, world_size, apart=apart)

    def persistent(self, units: Sequence[Unit], sharding: Any, world_size: int, partition: Any) -> Persistent:
        """Returns what stays for the whole run."""
        stored, buckets = sum(u.stored_bytes for u in units), replication_buffers(units, sharding, world_size)
        return Persistent(stored, partition.states, buckets)

    def at_step(self, layout: Layout, sharding: Any, partition: Any, updates: AnyOptimizer | None) -> AtStep:
        """Returns the bytes at the optimizer step, which leaves nothing to do where parameters step in backward."""
        runs = updates is None and not sharding.on_host
        return AtStep(layout.at_step, partition.temporaries if runs else 0)


class ShardedBackend(Backend):
    """Divides parameters, gradients and states among the ranks; the base class of FSDP1 and FSDP2."""

    def turns(self, sharding: Fsdp1 | Fsdp2, micro_batches: int) -> tuple[Turn, ...]:
        """Returns the micro-batches that can be the largest; the first is smaller than later ones in all respects."""
        if sharding.gradient_sync is GradientSync.EACH or micro_batches == 1:
            return super().turns(sharding, micro_batches)
        return (Turn.FIRST, Turn.LAST) if micro_batches == 2 else (Turn.LATER, Turn.LAST)

    def persistent(
        self, units: Sequence[Unit], sharding: Fsdp1 | Fsdp2, world_size: int, partition: Partition
    ) -> Persistent:
        """Returns a rank's shards; with an offload they are in the host's memory, and buffers alone stay."""
        if sharding.on_host:
            return Persistent(sum(u.buffer_bytes for u in units), 0, 0)
        return Persistent(sum(u.stored_bytes for u in units), partition.states, 0)


class Fsdp2Backend(ShardedBackend):
    """Divides each parameter by rows among the ranks."""

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Fsdp2,
        world_size: int,
        ends: Ends,
        turn: Turn,
        updates: AnyOptimizer | None,
    ) -> Layout:
        """Returns what FSDP2 has around each part."""
        return Fsdp2Layout(units, sharding, world_size, ends, turn, updates)


class Fsdp1Backend(ShardedBackend):
    """Joins the parameters of each unit to a flat one, and divides that among the ranks."""

    account = FlatAccount

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Fsdp1,
        world_size: int,
        ends: Ends,
        turn: Turn,
        updates: AnyOptimizer | None,
    ) -> Layout:
        """Returns what FSDP1 has around each part."""
        return Fsdp1Layout(units, sharding, world_size, ends, turn)

    def partition(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Fsdp1,
        world_size: int,
        *,
        apart: bool,
        itemsize: int,
    ) -> Partition:
        """Returns the first rank's tensors, whose parts of flat parameters are tensors of their own."""
        stem, *blocks, head, _ = units
        ranks = sharding.ranks(world_size)
        root = stem._replace(trained=stem.trained + head.trained, gathered_gradient_bytes=_joined(stem, head))
        mine = [u._replace(trained=tuple(_first_shares(u, ranks))) for u in (root, *blocks)]
        return Partition(mine, optimizer, Replicated(), 1, apart=apart)


def _joined(*units: Unit) -> int:
    return sum(u.gathered_gradient_bytes for u in units)


def _first_shares(unit: Unit, ranks: int) -> list[TrainedTensor]:
    """Returns the first rank's tensors of a unit, whose trained tensors are one flat parameter, or one each."""
    if unit.gathered_gradient_bytes:
        return first_shares(unit.trained, ranks)
    return [share for tensor in unit.trained for share in first_shares([tensor], ranks)]


class DeepSpeedBackend(Backend):
    """Divides flat tensors of all trained parameters, or with ZeRO-3 each parameter."""

    account = ParameterAccount
    marked = True

    def turns(self, sharding: Zero, micro_batches: int) -> tuple[Turn, ...]:
        """Returns the last micro-batch, at the end of which stage 1 reduces; none finds or leaves more."""
        return (Turn.ONLY,) if micro_batches == 1 else (Turn.LAST,)

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Zero,
        world_size: int,
        ends: Ends,
        turn: Turn,
        updates: AnyOptimizer | None,
    ) -> Layout:
        """Returns what ZeRO has besides each part."""
        return ZeroLayout(units, sharding, world_size, turn)

    def partition(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Zero,
        world_size: int,
        *,
        apart: bool,
        itemsize: int,
    ) -> FlatOptimizer:
        """Returns what the optimizer keeps of flat tensors, copies of the weights among them."""
        return FlatOptimizer(units, optimizer, sharding, world_size, itemsize)

    def persistent(
        self, units: Sequence[Unit], sharding: Zero, world_size: int, partition: FlatOptimizer
    ) -> Persistent:
        """Returns the weights, flat where they train, with masters and states of this rank's share."""
        flat, on_host = partition.flat, sharding.steps_on_host
        states = 0 if on_host else partition.states
        if sharding.stage < 3:
            return Persistent(stored_weights(flat), states, accumulation_buffer(flat) if on_host else 0)
        weights = small_weights(flat, sharding) + (0 if sharding.on_host else divided_weights(flat))
        return Persistent(weights, states, gradient_buffers(flat, sharding))

    def at_step(self, layout: Layout, sharding: Zero, partition: FlatOptimizer, updates: AnyOptimizer | None) -> AtStep:
        """Returns the bytes at the optimizer step of the rank that needs the most."""
        assert isinstance(layout, ZeroLayout)
        small = small_weights(partition.flat, sharding) if sharding.stage == 3 else 0
        return AtStep(*max((partition.peak(rank, small) for rank in layout.ranks), key=sum))


BACKENDS: Mapping[type[DataParallel], Backend] = {
    Replicated: Backend(),
    Fsdp1: Fsdp1Backend(),
    Fsdp2: Fsdp2Backend(),
    Zero: DeepSpeedBackend(),
}
"""Backend of each class of the sharding axis's values; one that cannot run on any number of ranks has none."""


def backend_of(sharding: DataParallel) -> Backend:
    """Returns the backend of a sharding."""
    return BACKENDS[type(sharding)]

"""Says what DeepSpeed's ZeRO means for a rank's memory."""

from __future__ import annotations

from collections.abc import Sequence

from planner.libraries.allocator import allocated
from planner.memory.sharding.account import Unit
from planner.memory.sharding.backend import AtStep, Backend
from planner.memory.sharding.deepspeed.flat import (
    ParameterAccount,
    divided_gradients,
    divided_weights,
    small_weights,
    stored_weights,
)
from planner.memory.sharding.deepspeed.host import kept
from planner.memory.sharding.deepspeed.layout import ZeroLayout
from planner.memory.sharding.deepspeed.offloaded import accumulation_buffer, laid_out
from planner.memory.sharding.deepspeed.stepped import FlatOptimizer
from planner.memory.sharding.host import OnHost
from planner.memory.sharding.layout import Ends, Layout, MicroBatch, Turn
from planner.memory.sharding.persistent import Persistent
from strategies import AnyOptimizer, Zero


class DeepSpeedBackend(Backend):
    """Divides flat tensors of all trained parameters, or with ZeRO-3 each parameter."""

    account = ParameterAccount
    communicators = 2
    """It makes a second group of all ranks (deepspeed/utils/groups.py, `_clone_world_group`); Trainer gathers losses in
    the first (transformers/trainer.py, `nested_gather`), and NCCL has buffers of each."""
    marked = True
    casts_on_host = False  # weights are in half precision; masters are made of a rank's share

    def turns(self, sharding: Zero, micro_batches: int) -> tuple[Turn, ...]:
        """Returns the last micro-batch, at whose end stage 1 reduces gradients: no other one holds more bytes."""
        return (Turn.ONLY,) if micro_batches == 1 else (Turn.LAST,)

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Zero,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch,
    ) -> Layout:
        """Returns what ZeRO has besides each part."""
        return ZeroLayout(units, sharding, world_size, micro_batch.turn)

    def partition(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Zero,
        world_size: int,
        *,
        apart: bool,
        itemsize: int,
        in_fp16: bool = False,
    ) -> FlatOptimizer:
        """Returns what the optimizer keeps of flat tensors, copies of the weights among them."""
        return FlatOptimizer(units, optimizer, sharding, world_size, itemsize, checks_overflow=in_fp16)

    def persistent(
        self, units: Sequence[Unit], sharding: Zero, world_size: int, partition: FlatOptimizer
    ) -> Persistent:
        """Returns the weights, flat where they train, with masters and states of this rank's share."""
        flat, on_host = partition.flat, sharding.steps_on_host
        states = 0 if on_host else partition.states
        if sharding.stage < 3:
            return Persistent(stored_weights(flat), states, accumulation_buffer(flat) if on_host else 0)
        weights = flat.buffers + small_weights(flat, sharding) + (0 if sharding.on_host else divided_weights(flat))
        bucket = allocated(sharding.reduce_bucket * flat.itemsize)
        return Persistent(weights, states, bucket, divided_gradients(flat, sharding))

    def at_setup(self, sharding: Zero, partition: FlatOptimizer) -> int:
        """Returns the bytes while masters are made for the host; a step exceeds what they take on the GPU."""
        return laid_out(partition.flat) if sharding.stage < 3 and sharding.steps_on_host else 0

    def at_step(self, layout: Layout, sharding: Zero, partition: FlatOptimizer, updates: AnyOptimizer | None) -> AtStep:
        """Returns the bytes at the optimizer step of the rank that needs the most."""
        assert isinstance(layout, ZeroLayout)
        small = small_weights(partition.flat, sharding) if sharding.stage == 3 else 0
        return AtStep(*max((partition.peak(rank, small) for rank in layout.ranks), key=sum))

    def on_host(
        self,
        units: Sequence[Unit],
        sharding: Zero,
        world_size: int,
        partition: FlatOptimizer,
        *,
        updates: bool,
        accumulates: bool,
    ) -> OnHost:
        """Returns fp32 masters with gradients and states, and this rank's weights, in the host's memory."""
        return kept(partition, accumulates=accumulates)

"""Says what FSDP2 does as one of the backends: how it lays parameters out, and what is on the host."""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.sharding.account import Unit
from planner.memory.sharding.backend import ShardedBackend
from planner.memory.sharding.fsdp2.layout import Fsdp2Layout
from planner.memory.sharding.host import OnHost, shards
from planner.memory.sharding.layout import Ends, Layout, MicroBatch
from planner.memory.sharding.partition import Partition
from strategies import Fsdp2


class Fsdp2Backend(ShardedBackend):
    """Divides each parameter by rows among the ranks."""

    keeps_what_evaluations_gather = True

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Fsdp2,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch,
    ) -> Layout:
        """Returns what FSDP2 has around each part."""
        return Fsdp2Layout(units, sharding, world_size, ends, micro_batch)

    def on_host(
        self,
        units: Sequence[Unit],
        sharding: Fsdp2,
        world_size: int,
        partition: Partition,
        *,
        updates: bool,
        accumulates: bool,
    ) -> OnHost:
        """Returns pinned shards of parameters and gradients, and the optimizer's states."""
        if not sharding.on_host:
            return OnHost()
        return shards(units, sharding.ranks(world_size), partition.states, updates=updates)

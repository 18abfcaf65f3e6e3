"""Computes which tensors the optimizer of each rank has: its shards of all tensors, or under ZeRO-1 whole tensors.

Source: torch/distributed/optim/zero_redundancy_optimizer.py, `_partition_parameters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from heapq import heapify, heapreplace

from planner.memory.memoized import counted
from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.optimizers import Groups, rule_of
from strategies import AnyOptimizer, DataParallel


class Partition:
    """Computes the bytes of an optimizer's states and of its step, on the rank where they are largest.

    Args:
        units: The parameters of each part.
        optimizer: The optimizer.
        sharding: How parameters and states are divided.
        world_size: The number of ranks.
        apart: Whether each tensor has an optimizer of its own, as updates in backward need it.
    """

    def __init__(
        self, units: Sequence[Unit], optimizer: AnyOptimizer, sharding: DataParallel, world_size: int, *, apart: bool
    ) -> None:
        self.rule, self.ranks, self.apart = rule_of(optimizer), sharding.ranks(world_size), apart
        self.groups: list[Groups] = [[(u.trained, n) for u, n in counted(tuple(units))]]
        """The trained tensors of each rank; a single entry where all ranks have the same."""
        if sharding.divides_states:
            self.groups = [[(share, 1)] for share in _shares(units, world_size)]

    @cached_property
    def _states(self) -> list[int]:
        return [self.rule.resident(groups, self.ranks, apart=self.apart) for groups in self.groups]

    @property
    def states(self) -> int:
        """Bytes of one rank's optimizer states; with FSDP2's CPU offload they are in the host's memory."""
        return max(self._states)

    @cached_property
    def temporaries(self) -> int:
        """Bytes on top of `states` at the peak of the optimizer step, on the rank where the sum of both is largest."""
        by_rank = zip(self._states, self.groups, strict=True)
        return max(own + self.rule.temporaries(groups, self.ranks) for own, groups in by_rank) - self.states

    @cached_property
    def on_host(self) -> tuple[int, int, int]:
        """Bytes of parameters, gradients and states that an optimizer which steps on the host keeps there itself."""
        return max(map(self.rule.on_host, self.groups))

    @property
    def moved(self) -> tuple[int, int]:
        """(bytes between GPU and host, FLOPs) of the optimizer step, on the rank that moves the most."""
        return max(self.rule.moved(groups, self.ranks) for groups in self.groups)


def _shares(units: Sequence[Unit], ranks: int) -> list[list[TrainedTensor]]:
    """Returns the tensors of each rank under ZeRO-1.

    The largest tensor comes first, and each goes whole to the rank with the fewest elements so far.
    """
    tensors = sorted((t for unit in units for t in unit.trained), key=lambda t: t.num_elements, reverse=True)
    shares: list[list[TrainedTensor]] = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    heapify(loads)
    for tensor in tensors:
        load, rank = loads[0]
        shares[rank].append(tensor)
        heapreplace(loads, (load + tensor.num_elements, rank))
    return shares

"""What the optimizer of each rank has: its shares of all tensors, or under ZeRO-1 tensors of its own.

Source: torch/distributed/optim/zero_redundancy_optimizer.py, `_partition_parameters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from heapq import heapify, heapreplace

from planner.memory.memoized import counted
from planner.memory.sharding.optimizers import Groups, rule_of
from planner.memory.sharding.state import TrainedTensor, Unit
from strategies import AnyOptimizer, DataParallel


class Partition:
    """One optimizer's states and step, on the rank where they are the most. `apart`: each tensor has an optimizer of
    its own."""

    def __init__(
        self, units: Sequence[Unit], optimizer: AnyOptimizer, sharding: DataParallel, world_size: int, *, apart: bool
    ) -> None:
        self.rule, self.ranks, self.apart = rule_of(optimizer), sharding.ranks(world_size), apart
        self.groups: list[Groups] = [[(u.trained, n) for u, n in counted(tuple(units))]]
        """The tensors by rank, where these differ."""
        if sharding.divides_states:
            self.groups = [[(share, 1)] for share in _shares(units, world_size)]

    @cached_property
    def _states(self) -> list[int]:
        return [self.rule.resident(groups, self.ranks, apart=self.apart) for groups in self.groups]

    @property
    def states(self) -> int:
        """Bytes, wherever they are."""
        return max(self._states)

    @cached_property
    def temporaries(self) -> int:
        """Bytes on top of `states`, at the peak of the step of any rank."""
        by_rank = zip(self._states, self.groups, strict=True)
        return max(own + self.rule.temporaries(groups, self.ranks) for own, groups in by_rank) - self.states

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes between a rank and its host in a step, and its FLOPs."""
        return max(self.rule.moved(groups, self.ranks) for groups in self.groups)


def _shares(units: Sequence[Unit], ranks: int) -> list[list[TrainedTensor]]:
    """The tensors of each rank: the largest first, each to the rank with the fewest elements so far. Tensors are not
    divided."""
    tensors = sorted((t for unit in units for t in unit.trained), key=lambda t: t.num_elements, reverse=True)
    shares: list[list[TrainedTensor]] = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    heapify(loads)
    for tensor in tensors:
        load, rank = loads[0]
        shares[rank].append(tensor)
        heapreplace(loads, (load + tensor.num_elements, rank))
    return shares

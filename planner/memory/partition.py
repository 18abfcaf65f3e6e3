"""Which optimizer states a rank has where each belongs to one rank.

Source: torch/distributed/optim/zero_redundancy_optimizer.py, `_partition_parameters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace

from planner.memory.state import TrainedTensor, Unit


def shares_of(units: Sequence[Unit], ranks: int) -> list[list[TrainedTensor]]:
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

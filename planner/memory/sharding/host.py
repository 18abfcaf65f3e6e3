"""Computes what one rank's process keeps in the host's memory for the whole run.

Pinned tensors take a power of two of bytes each. Left out is what every process takes, offloading or not: Python,
torch, CUDA's libraries, and workers that load data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from planner.libraries.allocator import pinned
from planner.memory.memoized import counted
from planner.memory.sharding.account import Unit


class OnHost(NamedTuple):
    """Bytes of host memory that one rank needs, kept for the whole run or coming and going within a step."""

    parameters: int = 0
    gradients: int = 0
    optimizer_states: int = 0
    """Bytes of states, and of weights that the optimizer steps in addition to those of the model."""

    @property
    def total(self) -> int:
        """Their sum, in bytes."""
        return self.parameters + self.gradients + self.optimizer_states


def shards(units: Sequence[Unit], ranks: int, states: int, *, updates: bool) -> OnHost:
    """Returns what FSDP2's `CPUOffloadPolicy` keeps on the host: pinned shards, and gradients copied to pinned memory.

    A copy from the GPU that does not block makes a pinned tensor; it blocks where a hook steps the parameter in
    backward, and then the gradients of one unit at a time are there. Source: torch/distributed/fsdp/_fully_shard/
    _fsdp_param.py, `reset_sharded_param`; _fsdp_collectives.py, `foreach_reduce`.

    Args:
        units: The parameters of each part.
        ranks: The number of ranks that divide each parameter.
        states: Bytes of the optimizer's states.
        updates: Whether parameters are stepped in backward.
    """
    of_units = [(unit.shares, unit.gradient_shares(ranks), number) for unit, number in counted(tuple(units))]
    parameters = sum(number * sum(map(pinned, shares)) for shares, _, number in of_units)
    if updates:
        return OnHost(parameters, max(sum(shares) for _, shares, _ in of_units), states)
    return OnHost(parameters, sum(number * sum(map(pinned, shares)) for _, shares, number in of_units), states)


def flat_shards(units: Sequence[Unit], states: int) -> OnHost:
    """Returns what FSDP1's `CPUOffload` keeps on the host: pinned flat shards, and as much again for gradients.

    The gradients' memory is there for every flat parameter, whether it trains or not. The root's flat parameter has
    embedding and head. Source: torch/distributed/fsdp/_flat_param.py, `init_flat_param_attributes`.

    Args:
        units: The parameters of each part: stem, blocks, head and loss.
        states: Bytes of the optimizer's states.
    """
    stem, *blocks, head, _ = units
    (root, *of_stem), (tail, *of_head) = stem.shares, head.shares
    of_blocks = sum(number * sum(map(pinned, unit.shares)) for unit, number in counted(tuple(blocks)))
    parameters = pinned(root + tail) + sum(map(pinned, (*of_stem, *of_head))) + of_blocks
    return OnHost(parameters, parameters, states)

"""Computes what one rank's process keeps in the host's memory for the whole run.

Pinned tensors take a power of two of bytes each. Left out is what every process takes, offloading or not: Python,
torch, CUDA's libraries, and workers that load data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from planner.libraries.allocator import pinned
from planner.memory.sharding.account import Unit


class OnHost(NamedTuple):
    """Bytes of host memory that one rank keeps for the whole run, or that come and go within a step."""

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
    parameters = sum(pinned(share) for unit in units for share in unit.shares)
    of_units = [unit.gradient_shares(ranks) for unit in units]
    if updates:
        return OnHost(parameters, max(map(sum, of_units), default=0), states)
    return OnHost(parameters, sum(pinned(share) for shares in of_units for share in shares), states)


def flat_shards(units: Sequence[Unit], states: int) -> OnHost:
    """Returns what FSDP1's `CPUOffload` keeps on the host: pinned flat shards, and as much again for gradients.

    The gradients' memory is there for every flat parameter, whether it trains or not. The root's flat parameter has
    embedding and head. Source: torch/distributed/fsdp/_flat_param.py, `init_flat_param_attributes`.

    Args:
        units: The parameters of each part: stem, blocks, head and loss.
        states: Bytes of the optimizer's states.
    """
    (root, *of_stem), *of_blocks, (tail, *of_head), _ = (unit.shares or (0,) for unit in units)
    apart = (share for shares in (of_stem, *of_blocks, of_head) for share in shares)
    parameters = pinned(root + tail) + sum(map(pinned, apart))
    return OnHost(parameters, parameters, states)

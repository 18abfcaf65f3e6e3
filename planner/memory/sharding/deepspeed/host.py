"""Computes what DeepSpeed keeps in the host's memory where its optimizer, or its parameters too, are there.

Tensors are pinned where the file says `"pin_memory": true`, which it does not unless asked (deepspeed/runtime/zero/
offload_config.py); only the flat parameters of stage 3 always are. Sources: deepspeed/runtime/zero/stage_1_and_2.py,
stage3.py and partition_parameters.py, DeepSpeed 0.19.8.
"""

from __future__ import annotations

from planner.libraries.allocator import pinned
from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.deepspeed.flat import Flat
from planner.memory.sharding.deepspeed.stepped import FlatOptimizer
from planner.memory.sharding.host import OnHost


def kept(optimizer: FlatOptimizer, *, accumulates: bool) -> OnHost:
    """Returns what the rank that keeps the most has in the host's memory.

    Args:
        optimizer: The flat tensors, and the masters and states of one rank.
        accumulates: Whether a step has several micro-batches.
    """
    sharding, flat = optimizer.sharding, optimizer.flat
    if not sharding.steps_on_host:
        return OnHost()
    masters = sum(subgroup.elements for subgroup in optimizer.subgroups(0)) * optimizer.itemsize
    if sharding.stage == 3:
        return OnHost(
            _divided(flat) if sharding.on_host else 0,
            masters + sum(_shares(flat)) * flat.itemsize,  # of the masters, and `grad_partitions_flat_buffer`
            optimizer.states,
        )
    # Stage 1 accumulates on the GPU; where masters are in half precision, sums are their gradients.
    sums = accumulates and sharding.stage == 2 and optimizer.itemsize == FP32
    whole = _accumulated(flat) if sums else 0
    return OnHost(
        sum(flat.sizes) * flat.itemsize,  # `param_buffer_of_bit16_for_cpu_offload_groups`
        masters + _largest(flat) * flat.itemsize + whole,
        optimizer.states,
    )


def _shares(flat: Flat) -> list[int]:
    """Returns the elements of one rank's shares of the trained parameters of each group."""
    return [sum(flat.share(p) for p in group) for group in flat.groups]


def _divided(flat: Flat) -> int:
    """Returns the bytes of one rank's shares of all parameters: trained ones in a pinned tensor a group, others apart.

    Source: stage3.py, `_create_param_groups_fp16_flat_cpu_memory`.
    """
    frozen = sum(flat.share(p) * p.itemsize for p in flat.parameters if not p.trains)
    return frozen + sum(pinned(share * flat.itemsize) for share in _shares(flat))


def _largest(flat: Flat) -> int:
    """Returns the elements of the largest parameter that trains, through whose buffer gradients are copied.

    Source: stage_1_and_2.py, `temp_grad_buffer_for_cpu_offload`.
    """
    return max(p.num_elements for group in flat.groups for p in group)


def _accumulated(flat: Flat) -> int:
    """Returns the bytes of sums of gradients, whole ones of all parameters that a rank's share touches.

    Source: stage_1_and_2.py, `async_accumulate_grad_in_cpu_via_gpu`.
    """
    return (
        max(
            sum(
                group[piece.number].num_elements
                for group, pieces in zip(flat.groups, flat.pieces(rank), strict=True)
                for piece in pieces
            )
            for rank in range(flat.ranks)
        )
        * flat.itemsize
    )

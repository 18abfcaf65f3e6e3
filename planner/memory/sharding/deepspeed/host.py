"""Computes what DeepSpeed keeps in the host's memory where its optimizer, or its parameters too, are there.

Tensors are pinned where the file says `"pin_memory": true`, as what `planner export` writes does, and the examples of
DeepSpeed, transformers and LLaMA-Factory; without it they take less. torch's allocator of pinned memory gives each a
power of two of bytes, and keeps what is freed. States are not pinned (deepspeed/ops/adam/cpu_adam.py). Sources:
deepspeed/runtime/zero/stage_1_and_2.py, stage3.py and partition_parameters.py, DeepSpeed 0.19.8.
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
    of_masters = sum(pinned(subgroup.elements * optimizer.itemsize) for subgroup in optimizer.subgroups(0))
    if sharding.stage == 3:
        shares = sum(_shares(flat))
        # `isinf` of all shares is `abs() == inf` (ATen/native/TensorCompare.cpp), of which stage3.py asks in fp16
        checked = shares * (flat.itemsize + 1) if optimizer.checks_overflow else 0
        return OnHost(
            _divided(flat) if sharding.on_host else 0,
            of_masters + pinned(shares * flat.itemsize) + checked,  # the second is `grad_partitions_flat_buffer`
            optimizer.states,
        )
    # Stage 1 accumulates on the GPU; where masters are in half precision, sums are their gradients.
    sums = accumulates and sharding.stage == 2 and optimizer.itemsize == FP32
    whole = _accumulated(flat) if sums else 0
    return OnHost(
        sum(pinned(size * flat.itemsize) for size in flat.sizes),  # `param_buffer_of_bit16_for_cpu_offload_groups`
        of_masters + pinned(_largest(flat) * flat.itemsize) + whole,
        optimizer.states - optimizer.masters + of_masters,
    )


def _shares(flat: Flat) -> list[int]:
    """Returns the elements of one rank's shares of the trained parameters of each group."""
    return [sum(flat.share(p) for p in group) for group in flat.groups]


def _divided(flat: Flat) -> int:
    """Returns the bytes of one rank's shares of all parameters, each pinned as it is made, and again a group in one.

    Those that train are copied from their own tensors, which nothing takes up again. Sources: partition_parameters.py,
    `_partition_param`; stage3.py, `_create_param_groups_fp16_flat_cpu_memory` and `_move_to_flat_buffer`.
    """
    apart = sum(pinned(flat.share(p) * p.itemsize) for p in flat.parameters)
    return apart + sum(pinned(share * flat.itemsize) for share in _shares(flat))


def _largest(flat: Flat) -> int:
    """Returns the elements of the largest parameter that trains, through whose buffer gradients are copied.

    Source: stage_1_and_2.py, `temp_grad_buffer_for_cpu_offload`.
    """
    return max(p.num_elements for group in flat.groups for p in group)


def _accumulated(flat: Flat) -> int:
    """Returns the bytes of sums of gradients, whole ones of all parameters that a rank's share touches.

    Source: stage_1_and_2.py, `async_accumulate_grad_in_cpu_via_gpu`.
    """
    return max(
        sum(
            pinned(group[piece.number].num_elements * flat.itemsize)
            for group, pieces in zip(flat.groups, flat.pieces(rank), strict=True)
            for piece in pieces
        )
        for rank in range(flat.ranks)
    )

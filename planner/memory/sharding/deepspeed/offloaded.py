"""Computes what an optimizer on the host leaves on the GPU: copies of gradients on their way there, and their norms.

DeepSpeedCPUAdam steps there, in C++ and in place (deepspeed/ops/adam/cpu_adam.py): fp32 weights, both states and
gradients are the host's. Sources: deepspeed/runtime/zero/stage_1_and_2.py and stage3.py, DeepSpeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Iterable

from planner.libraries.allocator import BLOCK_BYTES, allocated
from planner.memory.sharding.deepspeed.flat import Flat, stored_weights
from strategies import Zero

FP32, FP64 = 4, 8

NORM_ELEMENTS = 250_000_000
"""Elements of which ZeRO-3 takes the norm at a time (stage3.py, `_constant_buffered_norm2`)."""


def accumulation_buffer(flat: Flat) -> int:
    """Returns the bytes through which stages 1 and 2 take accumulated gradients back from the host.

    It is as large as the largest parameter that trains (stage_1_and_2.py, `temp_grad_buffer_for_gpu_offload`).
    """
    return allocated(max(p.num_elements for group in flat.groups for p in group) * flat.itemsize)


def laid_out(flat: Flat) -> int:
    """Returns the bytes on the GPU while stages 1 and 2 make masters: all weights, and a copy of this rank's share.

    It is copied there before it goes to the host in fp32 (stage_1_and_2.py, `weights_partition`).
    """
    return stored_weights(flat) + max(allocated(size * flat.itemsize) for size in flat.sizes)


def norms(flat: Flat, rank: int, *, divided: bool) -> int:
    """Returns the bytes of the norm of each gradient in a rank's share, which stay until the next step.

    Args:
        flat: The parameters.
        rank: The rank.
        divided: Whether each parameter is divided by itself, as in stage 3.
    """
    owned: Iterable[int] = map(len, flat.groups) if divided else map(len, flat.pieces(rank))
    return sum(owned) * BLOCK_BYTES


def sent(elements: int) -> int:
    """Returns the largest bytes of a temporary while stages 1 and 2 send a slice of a gradient to the host.

    Its norm is taken of a copy in fp64, and the host's fp32 gradient is written from a copy in fp32, one after the
    other (stage_1_and_2.py, `set_norm_for_param_grad_in_gpu`, `async_inplace_copy_grad_to_fp32_buffer_from_gpu`).
    """
    return allocated(elements * FP64)


def sent_share(elements: int, itemsize: int) -> int:
    """Returns the largest bytes of temporaries while ZeRO-3 sends a rank's share of a gradient to the host.

    The share goes to the host, and what is there comes back in the gradients' dtype; of that copy the norm is taken in
    fp64 and a copy in fp32 is sent (stage3.py, `partition_grads`, `_offload_grad_partition_at_boundary`).

    Args:
        elements: Elements of the share.
        itemsize: Bytes per element of the gradients.
    """
    wider = elements * FP32 if itemsize < FP32 else 0
    return allocated(elements * itemsize) + max(allocated(min(elements, NORM_ELEMENTS) * FP64), allocated(wider))


def small_shares(flat: Flat, sharding: Zero) -> int:
    """Returns the bytes of a rank's shares of small parameters, copied from the host to be gathered after the step.

    Source: partition_parameters.py, `_allgather_params_coalesced`, which stage3.py calls in `_post_step`.
    """
    if not sharding.on_host or flat.ranks == 1:
        return 0
    small = (p for p in flat.parameters if p.num_elements <= sharding.persistence_threshold)
    return sum(allocated(flat.share(p) * p.itemsize) for p in small)

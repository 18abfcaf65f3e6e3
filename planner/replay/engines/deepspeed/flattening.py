"""Makes stages 1 and 2 lay weights out in flat tensors as on a GPU that has no room for both.

DeepSpeed then moves the weights of a group to the host, empties the allocator's cache, joins them there, and moves the
flat tensor back (deepspeed/runtime/zero/stage_1_and_2.py, `__init__`). Where NVML says that there is room beside the
weights, DeepSpeed 0.19 joins them on the GPU, which a step never needs: what does not fit with it fits without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from planner.replay.engines.deepspeed.offload import Host, to_device


@contextmanager
def flattened(host: Host) -> Iterator[None]:
    """Records what DeepSpeed moves to the host and back while it is set up, and where it empties the cache.

    Args:
        host: The host's memory. Where it is the device's as well, nothing is moved.
    """
    from deepspeed.accelerator import get_accelerator
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    if (live := host.recorder) is None:
        yield
        return
    flatten = DeepSpeedZeroOptimizer.flatten_dense_tensors_aligned
    with ExitStack() as stack:
        accelerator = get_accelerator()
        stack.enter_context(mock.patch.object(accelerator, "available_memory", return_value=0))
        stack.enter_context(mock.patch.object(accelerator, "empty_cache", live.empty_cache))
        stack.enter_context(mock.patch.object(torch.Tensor, "cpu", _to_host(host)))
        stack.enter_context(mock.patch.object(torch.Tensor, "to", to_device(host)))
        joined = host.allocates(flatten)
        stack.enter_context(mock.patch.object(DeepSpeedZeroOptimizer, flatten.__name__, joined))
        yield


def _to_host(host: Host) -> Any:
    """Returns what moves a tensor to the host: its memory stands for the host's from then on."""

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        host.leave([tensor])
        return tensor

    return cpu

"""Moves tensors to the host's memory in a replay.

The device of a replay is called cpu, and stands for the GPU. Tensors on the host are on the meta device, where no
allocation is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import modeling_utils

from strategies import Strategy


class SavedOnHost(saved_tensors_hooks):
    """Saves tensors on the host, in place of `torch.autograd.graph.save_on_cpu`."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(partial(torch.empty_like, device=HOST), partial(torch.empty_like, device=DEVICE))


HOST = torch.device("meta")
"""Device that stands for the host's memory."""
DEVICE = torch.device("cpu")
"""Device that stands for the GPU."""


@contextmanager
def offloading(strategy: Strategy) -> Iterator[None]:
    """Makes activations move to the host and back on fake tensors, where a strategy offloads them."""
    with _activations() if strategy.checkpointing.choice.facts.offloads else nullcontext():
        yield


@contextmanager
def _activations() -> Iterator[None]:
    """Replaces transformers' `save_on_cpu` by `SavedOnHost`."""
    owner: Any = modeling_utils
    original = owner.save_on_cpu
    owner.save_on_cpu = SavedOnHost
    try:
        yield
    finally:
        owner.save_on_cpu = original

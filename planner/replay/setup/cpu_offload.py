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
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup
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


def place_on_host(model: torch.nn.Module) -> torch.nn.Module:
    """Moves the parameters to the host, as FSDP2 requires; buffers stay on the device. Nothing is initialized."""
    model = model.to_empty(device=HOST)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_like(buffer, device=DEVICE)
    return model


@contextmanager
def offloading(strategy: Strategy) -> Iterator[None]:
    """Makes a strategy's transfers to and from the host work on fake tensors while the context lasts."""
    activations = _activations() if strategy.checkpointing.choice.facts.offloads else nullcontext()
    with activations, _parameters() if strategy.sharding.on_host else nullcontext():
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


@contextmanager
def _parameters() -> Iterator[None]:
    """Lets FSDP2 offload to `HOST`.

    FSDP2 checks that offloaded parameters are on the CPU, and moves gradients there (`foreach_reduce`): the checks are
    removed, and the moves go to `HOST`.
    """
    checks = {
        name: getattr(FSDPParamGroup, name) for name in ("_validate_no_meta_params", "_validate_cpu_offload_params")
    }
    move = torch.Tensor.to

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        leaves = tensor.device == DEVICE and args == (DEVICE,) and "non_blocking" in kwargs  # only FSDP2 passes it
        return torch.empty_like(tensor, device=HOST) if leaves else move(tensor, *args, **kwargs)

    try:
        for name in checks:
            setattr(FSDPParamGroup, name, lambda group: None)
        torch.Tensor.to = to  # type: ignore[method-assign,assignment]  # restored below
        yield
    finally:
        for name, check in checks.items():
            setattr(FSDPParamGroup, name, check)
        torch.Tensor.to = move  # type: ignore[method-assign]  # the original

"""The host's memory in a replay, whose own device is called cpu: tensors of the host are on the meta device, where no
allocation is recorded."""

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
    """`torch.autograd.graph.save_on_cpu`, whose copies are on the host."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(partial(torch.empty_like, device=HOST), partial(torch.empty_like, device=DEVICE))


HOST = torch.device("meta")
DEVICE = torch.device("cpu")


def place_on_host(model: torch.nn.Module) -> torch.nn.Module:
    """FSDP2 wants parameters there; buffers are where the model computes."""
    model = model.to_empty(device=HOST)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_like(buffer, device=DEVICE)
    return model


@contextmanager
def offloading(strategy: Strategy) -> Iterator[None]:
    """What moves to the host and from there while a strategy is replayed."""
    activations = _activations() if strategy.checkpointing.choice.facts.offloads else nullcontext()
    with activations, _parameters() if strategy.sharding.on_host else nullcontext():
        yield


@contextmanager
def _activations() -> Iterator[None]:
    owner: Any = modeling_utils
    original = owner.save_on_cpu
    owner.save_on_cpu = SavedOnHost
    try:
        yield
    finally:
        owner.save_on_cpu = original


@contextmanager
def _parameters() -> Iterator[None]:
    """FSDP2 checks that what it offloads is on the CPU, and moves gradients there (`foreach_reduce`)."""
    checks = {
        name: getattr(FSDPParamGroup, name) for name in ("_validate_no_meta_params", "_validate_cpu_offload_params")
    }
    move = torch.Tensor.to

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        leaves = tensor.device == DEVICE and args == (DEVICE,) and "non_blocking" in kwargs  # FSDP2 alone says it
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

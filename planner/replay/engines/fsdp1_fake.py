"""Lets FSDP1 run on fake tensors, whose data has no address, and offload to a host that is the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.fsdp import FullyShardedDataParallel, _flat_param, _runtime_utils

from planner.replay.setup.cpu_offload import HOST


@contextmanager
def on_fake_tensors() -> Iterator[None]:
    """Compares storages by identity where FSDP1 compares addresses, which are all 0 on fake tensors.

    These are `_same_storage` and `_data_ptr_allocated` (_flat_param.py), and the check of `_catch_all_reshard`
    (_runtime_utils.py).
    """
    runtime: Any = _runtime_utils
    flat: Any = _flat_param
    originals = runtime._catch_all_reshard, flat._same_storage, flat._data_ptr_allocated
    runtime._catch_all_reshard, flat._same_storage, flat._data_ptr_allocated = _catch_all_reshard, _same_storage, _holds
    try:
        yield
    finally:
        runtime._catch_all_reshard, flat._same_storage, flat._data_ptr_allocated = originals


def _holds(tensor: torch.Tensor) -> bool:
    return tensor.untyped_storage().size() > 0


def _same_storage(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage()._cdata == b.untyped_storage()._cdata


def _catch_all_reshard(state: Any) -> None:
    """Reshards a unit whose backward did not, as the original does."""
    handle = state._handle
    if not handle:
        return
    flat = handle.flat_param
    if not _same_storage(flat, flat._local_shard) or handle._skipped_use_sharded_views:
        _runtime_utils._reshard(state, handle, _runtime_utils._should_free_in_backward(state, handle))


class _Torch:
    """Serves as `torch` in FSDP1's modules, where `torch.device("cpu")` is the host and not the step's device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(name: Any) -> torch.device:
        """Returns a device, and `HOST` for the CPU."""
        return HOST if name == "cpu" else torch.device(name)


@contextmanager
def on_host() -> Iterator[None]:
    """Lets FSDP1 offload to `HOST`, whose memory cannot be pinned."""
    flat: Any = _flat_param
    runtime: Any = _runtime_utils
    pin = torch.Tensor.pin_memory
    flat.torch = runtime.torch = _Torch()
    torch.Tensor.pin_memory = lambda tensor, *_: tensor  # type: ignore[method-assign,assignment]  # restored below
    try:
        yield
    finally:
        flat.torch = runtime.torch = torch
        torch.Tensor.pin_memory = pin  # type: ignore[method-assign]  # the original


def moved_to_host(model: torch.nn.Module) -> None:
    """Moves the shards of a wrapped model to `HOST`, where the original leaves them on the CPU."""
    for unit in FullyShardedDataParallel.fsdp_modules(model):
        handle: Any = unit._handle
        if handle is not None:
            handle.flat_param_to(HOST)
            handle._use_sharded_views()

"""Lets FSDP1 run on fake tensors, whose data has no address, and offload to a host whose memory is the device's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.fsdp import FullyShardedDataParallel, _flat_param, _runtime_utils
from torch.distributed.fsdp._flat_param import FlatParamHandle
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from planner.replay.recording.recorder import LiveBytes


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


@contextmanager
def on_host() -> Iterator[None]:
    """Lets FSDP1 offload to the host, whose memory is the device's in a replay.

    What FSDP1 pins leaves the record, and what it copies to the device is a tensor of its own, as it is on a GPU
    (`pre_unshard` and `_use_low_precision_shard`).
    """
    handle: Any = FlatParamHandle
    pin, unshard, cast = torch.Tensor.pin_memory, handle.pre_unshard, handle._use_low_precision_shard
    torch.Tensor.pin_memory = _pinned  # type: ignore[method-assign,assignment]  # restored below
    handle.pre_unshard = lambda self: _pre_unshard(self, unshard)
    handle._use_low_precision_shard = lambda self: _cast(self, cast)
    try:
        yield
    finally:
        torch.Tensor.pin_memory = pin  # type: ignore[method-assign]  # the original
        handle.pre_unshard, handle._use_low_precision_shard = unshard, cast


def _pinned(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
    """Returns the tensor, which is the host's from now on."""
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, LiveBytes):
            mode.leave(tensor)
    return tensor


def _pre_unshard(handle: Any, original: Callable[[Any], bool]) -> bool:
    """Copies the shard to the device, unless it is cast to a copy anyway."""
    ran = original(handle)
    if not handle._uses_param_mixed_precision:
        handle.flat_param.data = handle.flat_param.data.clone()
    return ran


def _cast(handle: Any, original: Callable[[Any], None]) -> None:
    """Copies the shard to the device while it is cast."""
    flat = handle.flat_param
    flat._local_shard, on_host = flat._local_shard.clone(), flat._local_shard
    original(handle)
    flat._local_shard = on_host


def moved_to_host(model: torch.nn.Module) -> None:
    """Says that the shards of a wrapped model are the host's."""
    for unit in FullyShardedDataParallel.fsdp_modules(model):
        if unit._handle is not None:
            _pinned(unit._handle.flat_param)

"""Lets FSDP1 run on fake tensors, whose data has no address, and offload to a host whose memory is the device's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FullyShardedDataParallel, _flat_param, _init_utils, _runtime_utils
from torch.distributed.fsdp._flat_param import FlatParamHandle
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from planner.allocator.streams import Stream
from planner.replay.recording.recorder import LiveBytes
from planner.replay.recording.streams import name_stream, share
from planner.replay.stand_ins.quantized.nf4 import Linear4bit


@contextmanager
def on_fake_tensors(visit: Callable[[Any], None]) -> Iterator[None]:
    """Compares storages by identity where FSDP1 compares addresses, which are all 0 on fake tensors.

    These are `_same_storage` and `_data_ptr_allocated` (_flat_param.py), and the check of `_catch_all_reshard`
    (_runtime_utils.py).

    Args:
        visit: Called with each unit when backward is over and FSDP1 looks after it (`_post_backward_final_callback`).
    """
    runtime: Any = _runtime_utils
    flat: Any = _flat_param
    flat._get_dtype_size.cache_clear()  # allocates an element for each dtype, once in a process
    originals = runtime._catch_all_reshard, flat._same_storage, flat._data_ptr_allocated
    runtime._catch_all_reshard = partial(_catch_all_reshard, visit)
    flat._same_storage, flat._data_ptr_allocated = _same_storage, _holds
    try:
        yield
    finally:
        runtime._catch_all_reshard, flat._same_storage, flat._data_ptr_allocated = originals


@contextmanager
def with_named_streams() -> Iterator[None]:
    """Names the streams that FSDP1 makes (_runtime_utils.py, `_init_streams`), and notes what two of them use."""
    runtime: Any = _runtime_utils
    make = runtime._init_streams

    def made(state: Any) -> None:
        make(state)
        name_stream(state._unshard_stream, Stream.GATHER)
        name_stream(state._pre_unshard_stream, Stream.SHARD)
        name_stream(state._post_backward_stream, Stream.REDUCE)
        if state._all_reduce_stream is not state._default_stream:
            name_stream(state._all_reduce_stream, Stream.REPLICATE)

    flat: Any = _flat_param
    note = runtime._no_dispatch_record_stream
    runtime._init_streams = made
    runtime._no_dispatch_record_stream = flat._no_dispatch_record_stream = share
    try:
        yield
    finally:
        runtime._init_streams = make
        runtime._no_dispatch_record_stream = flat._no_dispatch_record_stream = note


def _holds(tensor: torch.Tensor) -> bool:
    return tensor.untyped_storage().size() > 0


def _same_storage(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(a.untyped_storage()._cdata == b.untyped_storage()._cdata)


def _catch_all_reshard(visit: Callable[[Any], None], state: Any) -> None:
    """Reshards a unit whose backward did not, as the original does."""
    visit(state)
    handle = state._handle
    if not handle:
        return
    flat = handle.flat_param
    if not _same_storage(flat, flat._local_shard) or handle._skipped_use_sharded_views:
        _runtime_utils._reshard(state, handle, _runtime_utils._should_free_in_backward(state, handle))


@contextmanager
def with_quant_states() -> Iterator[None]:
    """Leaves scales of NF4 weights in fp32: bitsandbytes has them in a `QuantState`, the stand-in in buffers.

    FSDP1 with mixed precision casts buffers (_runtime_utils.py, `_get_buffers_and_dtypes_for_computation`).
    """
    runtime: Any = _runtime_utils
    original = runtime._get_buffers_and_dtypes_for_computation

    def without_scales(state: Any, root: torch.nn.Module) -> tuple[list[torch.Tensor], list[torch.dtype | None]]:
        scales = {id(b) for m in root.modules() if isinstance(m, Linear4bit) for b in m.buffers(recurse=False)}
        buffers, dtypes = original(state, root)
        return buffers, [None if id(b) in scales else d for b, d in zip(buffers, dtypes, strict=True)]

    runtime._get_buffers_and_dtypes_for_computation = without_scales
    try:
        yield
    finally:
        runtime._get_buffers_and_dtypes_for_computation = original


@contextmanager
def with_broadcast_states() -> Iterator[None]:
    """Lets every rank get its first weights from the first one, unit by unit (`sync_module_states`).

    FSDP1 refuses tensors of the CPU, which is the step's device here; and the buckets of the broadcast are made in C++,
    where no replay sees them.
    """
    init: Any = _init_utils
    distributed: Any = dist
    check, broadcast = init._check_module_states_for_sync_module_states, distributed._broadcast_coalesced
    init._check_module_states_for_sync_module_states = lambda states: None
    distributed._broadcast_coalesced = _broadcast
    try:
        yield
    finally:
        init._check_module_states_for_sync_module_states = check
        distributed._broadcast_coalesced = broadcast


BROADCASTS = 2
"""Buckets that are broadcast at the same time (torch/csrc/distributed/c10d/comm.cpp, `broadcast_coalesced`)."""


def _broadcast(group: Any, tensors: list[torch.Tensor], bucket_bytes: int, source: int) -> None:
    """Joins tensors to buckets as `broadcast_coalesced` does; one that is a bucket by itself is not copied.

    Source: torch/csrc/distributed/c10d/reducer.cpp, `compute_bucket_assignment_by_size`.
    """
    buckets: dict[torch.dtype, list[torch.Tensor]] = {}
    flying: list[torch.Tensor] = []

    def send(bucket: list[torch.Tensor]) -> None:
        del flying[: len(flying) - BROADCASTS + 1]
        flying.append(bucket[0] if len(bucket) == 1 else torch.cat([tensor.reshape(-1) for tensor in bucket]))

    for tensor in tensors:
        bucket = buckets.setdefault(tensor.dtype, [])
        bucket.append(tensor)
        if sum(t.nbytes for t in bucket) >= bucket_bytes:
            send(buckets.pop(tensor.dtype))
    for bucket in buckets.values():
        send(bucket)


@contextmanager
def on_host() -> Iterator[None]:
    """Lets FSDP1 offload to the host, whose memory is the device's in a replay.

    What FSDP1 pins leaves the record, and what it copies to the device is a tensor of its own, as it is on a GPU
    (`pre_unshard` and `_use_low_precision_shard`). A stream of the CPU has nothing to wait for
    (`_post_backward_final_callback`).
    """
    handle: Any = FlatParamHandle
    stream: Any = torch.cpu.Stream
    pin, unshard, cast = torch.Tensor.pin_memory, handle.pre_unshard, handle._use_low_precision_shard
    torch.Tensor.pin_memory = _pinned  # type: ignore[method-assign,assignment]  # restored below
    handle.pre_unshard = lambda self: _pre_unshard(self, unshard)
    handle._use_low_precision_shard = lambda self: _cast(self, cast)
    stream.synchronize = lambda self: None  # which the CPU's lacks, and `_post_backward_final_callback` calls
    try:
        yield
    finally:
        torch.Tensor.pin_memory = pin  # type: ignore[method-assign]  # the original
        handle.pre_unshard, handle._use_low_precision_shard = unshard, cast
        del stream.synchronize


def _pinned(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
    """Returns the tensor, which is the host's from now on."""
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, LiveBytes):
            mode.leave(tensor)
    return tensor


def _pre_unshard(handle: Any, original: Callable[[Any], bool]) -> bool:
    """Copies the shard to the device, unless it is cast to a copy anyway.

    A gradient of zeros, which `_writeback_orig_params` makes where there is none, is the host's, and
    `prepare_gradient_for_backward` drops it again: here nothing makes it.
    """
    skips, handle._skip_writeback_check = handle._skip_writeback_check, handle.flat_param.grad is None
    ran = original(handle)
    handle._skip_writeback_check = skips
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

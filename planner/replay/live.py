"""Follows every live storage of a step on fake tensors: how many bytes, and the trace of allocations and frees."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512
"""What CUDA's caching allocator rounds sizes to (c10/cuda/CUDACachingAllocator.h, kMinBlockSize)."""

_TENSOR_AND_PYTHON = 2
"""Owners of a storage that only one tensor has, while Python looks at it."""


def rounded(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK) * BLOCK


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live storages; `peak` is the largest count since the last `mark`.

    `trace` has a pair for every allocation (+bytes) and free (-bytes), each with the number of its storage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.trace: list[tuple[int, int]] = []
        self._live: dict[int, tuple[int, int]] = {}
        self._storages = 0

    def __enter__(self) -> LiveBytes:
        self._resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:  # FSDP2 frees and refills gathered parameters by resizing
            result = self._resize(storage, size)
            if storage._cdata in self._live:
                self._drop(storage._cdata)
                self._hold(storage._cdata, size)
            return result

        torch.UntypedStorage.resize_ = resize_  # type: ignore[method-assign,assignment]
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(*exc)

    def mark(self) -> None:
        """The peak is looked for anew from here on."""
        self.peak = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.add.Tensor and self._would_be_in_place(args[0]):
            self._drop(args[0].untyped_storage()._cdata)
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf._local_tensor if isinstance(leaf, DTensor) else leaf)
        return out

    @staticmethod
    def _would_be_in_place(gathered: torch.Tensor) -> bool:
        """Under fake tensors autograd never adds gradients in place; a real step does when the buffer is no view and
        has no other owner (torch/csrc/autograd/input_buffer.cpp). Backward's own additions are all of that kind."""
        if torch._C._current_graph_task_id() == -1 or torch.is_grad_enabled() or gathered._is_view():
            return False
        return torch._C._storage_Use_Count(gathered.untyped_storage()._cdata) == _TENSOR_AND_PYTHON

    def _add(self, tensor: torch.Tensor) -> None:
        if tensor.device.type != "cpu":
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._live:
            self._hold(storage._cdata, storage.nbytes())
            weakref.finalize(storage, self._drop, storage._cdata)

    def _hold(self, key: int, num_bytes: int) -> None:
        size = rounded(num_bytes)
        self._storages += 1
        self._live[key] = (self._storages, size)
        self.now += size
        self.peak = max(self.peak, self.now)
        if size:
            self.trace.append((self._storages, size))

    def _drop(self, key: int) -> None:
        number, size = self._live.pop(key, (0, 0))
        self.now -= size
        if size:
            self.trace.append((number, -size))

"""Tells what a tensor is made of on this rank, and what autograd would do with it."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

_TENSOR_AND_PYTHON = 2
"""Use count of a storage with a single tensor, seen from Python, which holds a reference of its own."""

_BUFFER_ALONE = 4
"""Use count of a tensor that only a buffer of autograd owns, seen from within a dispatch mode, which adds three."""


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Returns this rank's shard of a DTensor, and any other tensor unchanged."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def parts_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Returns the plain tensors that this rank holds of a tensor: the inner ones of a wrapper subclass, else one."""
    tensor = local(tensor)
    if not is_traceable_wrapper_subclass(tensor):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in parts_of(getattr(tensor, name))]


def leaves_of(out: Any) -> list[torch.Tensor]:
    """Returns the tensors in an operator's result."""
    if type(out) is FakeTensor:
        return [out]
    return [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]


def would_be_in_place(gathered: torch.Tensor) -> bool:
    """Returns whether autograd would add a gradient into this buffer in a real step.

    Under fake tensors it always adds out of place; a real step adds in place if the buffer is no view and has no
    other owner (torch/csrc/autograd/input_buffer.cpp), such as a backward function in Python that was called with
    it. All additions that backward itself makes are of this kind.
    """
    if torch._C._current_graph_task_id() == -1 or torch.is_grad_enabled() or gathered._is_view():
        return False
    if gathered._use_count() > _BUFFER_ALONE:  # type: ignore[attr-defined]  # torch's stubs leave it out
        return False
    return torch._C._storage_Use_Count(gathered.untyped_storage()._cdata) == _TENSOR_AND_PYTHON


_INDEX_PUT, _ADD = torch.ops.aten.index_put.default, torch.ops.aten.add.Tensor


def overwrites_first_argument(func: Any, args: Any) -> bool:
    """Returns whether a real step would write the result of an operator into its first argument's memory.

    The gradient of indexing is written out of place for tensor subclasses only (FunctionsManual.cpp,
    `index_backward`); a real step writes in place.
    """
    if func is _INDEX_PUT:
        return torch._C._current_graph_task_id() != -1
    return func is _ADD and would_be_in_place(args[0])

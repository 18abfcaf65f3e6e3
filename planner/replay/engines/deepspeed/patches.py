"""Makes DeepSpeed run on fake tensors, and without compiling kernels."""

from __future__ import annotations

import copy
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch._subclasses import fake_impls
from torch.nn import functional


@contextmanager
def on_fake_tensors() -> Iterator[None]:
    """Replaces what DeepSpeed asks of real tensors and of real ranks while the context lasts.

    - Values: its checks of overflow and of the gradients' norm read scalars. Nothing overflows, and every norm is 1.
    - `Module.to` replaces every parameter, which torch refuses for fake tensors whose values are shared; where neither
      dtype nor device changes it has nothing to do.
    - Stage 3 compares its order of modules with that of other ranks, whose numbers no pretended group sends.
    - `isinf` of a fake tensor allocates its result alone, and that of a real one a copy in between.
    - Its accelerator of the CPU says that there is no fp16, which GPUs have.
    - Stage 3 replaces `functional.linear` for good, and is undone.
    - Groups of ranks, and the environment that says this process's rank, are as before when the context ends.
    """
    from deepspeed.accelerator import get_accelerator
    from deepspeed.comm import comm
    from deepspeed.runtime.zero import parameter_offload, partitioned_param_coordinator, utils
    from deepspeed.utils import groups

    scalar = torch.ops.aten._local_scalar_dense.default
    level = logging.getLogger("DeepSpeed").level
    with ExitStack() as stack:
        stack.enter_context(without_kernels())
        stack.enter_context(mock.patch.object(get_accelerator(), "is_fp16_supported", return_value=True))
        stack.enter_context(mock.patch.dict(os.environ))
        stack.enter_context(mock.patch.dict(fake_impls.op_implementations_dict, {scalar: _value_of}))
        stack.enter_context(mock.patch.object(torch.nn.Module, "_apply", _apply))
        stack.enter_context(mock.patch.object(functional, "linear", functional.linear))
        stack.enter_context(mock.patch.object(torch, "isinf", _isinf))
        for module in (utils, partitioned_param_coordinator):
            stack.enter_context(mock.patch.object(module, "assert_ints_same_as_other_ranks"))
        known = {name: copy.copy(value) for name, value in vars(groups).items() if value is None or type(value) is dict}
        stack.enter_context(mock.patch.dict(vars(groups), known))
        stack.enter_context(mock.patch.object(comm, "cdb", None))
        stack.enter_context(mock.patch.object(parameter_offload, "FWD_MODULE_STACK", []))
        logging.getLogger("DeepSpeed").setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logging.getLogger("DeepSpeed").setLevel(level)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Leaves out the kernels for the CPU's shared memory, which DeepSpeed compiles when it joins a group.

    They exchange tensors in inference alone (deepspeed/comm/torch.py, `inference_all_reduce`).
    """
    import deepspeed.comm.torch  # noqa: F401  # the attribute of this name is torch itself

    with mock.patch.object(sys.modules["deepspeed.comm.torch"], "build_shm_op", return_value=None):
        yield


def _value_of(mode: Any, func: Any, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> bool | int | float:
    """Returns the value that a fake scalar stands for: no overflow, a norm of 1."""
    if tensor.dtype is torch.bool:
        return False
    return 1.0 if tensor.dtype.is_floating_point else 0


def _isinf(tensor: torch.Tensor) -> torch.Tensor:
    """Computes `isinf` as ATen does (ATen/native/TensorCompare.cpp)."""
    return tensor.abs() == math.inf


_original_apply = torch.nn.Module._apply


def _apply(module: torch.nn.Module, fn: Any, recurse: bool = True) -> torch.nn.Module:
    """Applies a function to all tensors of a module, unless it changes neither dtype nor device of any.

    Tensors without elements tell what it changes: the function makes none that a real step would not.
    """
    tensors = [*module.parameters(recurse), *module.buffers(recurse)]
    with torch.no_grad():
        made = [(t, fn(t.new_empty(0))) for t in tensors]
    if all(new.dtype == t.dtype and new.device == t.device for t, new in made):
        return module
    return _original_apply(module, fn, recurse)  # type: ignore[no-any-return]  # it is untyped

"""Runs DeepSpeed with its optimizer, or its parameters as well, in the host's memory.

The optimizer is DeepSpeedCPUAdam itself, without its kernel: C++ that reads and writes tensors in place, of which fake
ones have no addresses (csrc/adam/cpu_adam_impl.cpp). It allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from planner.replay.engines.deepspeed.held import is_stage_3, masters_of
from planner.replay.recording.recorder import LiveBytes


class Host:
    """Keeps what is in the host's memory out of a replay's record, where the replay is one of a GPU.

    On the CPU both memories are one, and everything counts.

    Attributes:
        live: The recorder, once there is one.
        is_apart: Whether the host's memory is not the device's.
        is_current: Whether a function runs that allocates there alone.
    """

    def __init__(self) -> None:
        self.live: Any = None
        self.is_apart = self.is_current = False

    @property
    def recorder(self) -> LiveBytes | None:
        """The recorder, where the host's memory is not the device's."""
        return self.live if self.is_apart else None

    def leave(self, tensors: Iterable[torch.Tensor]) -> None:
        """Says that tensors are in the host's memory."""
        if (live := self.recorder) is not None:
            for tensor in tensors:
                live.leave(tensor)

    def disown(self, tensors: Iterable[torch.Tensor]) -> None:
        """Says that tensors have been in the host's memory since they were allocated, in the present phase."""
        if (live := self.recorder) is not None:
            for tensor in tensors:
                live.disown(tensor)

    def has(self, tensor: torch.Tensor) -> bool:
        """Returns whether a tensor is in the host's memory, and not in the device's."""
        return (live := self.recorder) is not None and live.is_on_host(tensor)

    def allocates(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the same function, which allocates in the host's memory alone."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if (live := self.recorder) is None:
                return function(*args, **kwargs)
            self.is_current = True
            try:
                with live.hosting():
                    return function(*args, **kwargs)
            finally:
                self.is_current = False

        return call


def mapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Returns the optimizer that accelerate makes of torch's where it is offloaded: DeepSpeedCPUAdam."""
    from accelerate.utils.deepspeed import map_pytorch_optim_to_deepspeed

    found: torch.optim.Optimizer = map_pytorch_optim_to_deepspeed(optimizer)
    return found


def allocated_there(zero: Any, model: Any) -> Iterator[torch.Tensor]:
    """Yields what DeepSpeed has allocated in the host's memory, if its optimizer is there.

    Args:
        zero: DeepSpeed's optimizer, of any stage.
        model: The model, of whose parameters stage 3 has divided each.
    """
    if not (zero.offload_optimizer if is_stage_3(zero) else zero.cpu_offload):
        return
    for master in masters_of(zero):
        assert master.grad is not None  # DeepSpeed allocates it with the weights
        yield from (master, master.grad)
    if not is_stage_3(zero):
        yield from zero.param_buffer_of_bit16_for_cpu_offload_groups
        yield zero.temp_grad_buffer_for_cpu_offload
        return
    yield zero.grad_partitions_flat_buffer
    if zero.offload_param:
        yield from zero.param_groups_fp16_flat_cpu_memory
        yield from (parameter.ds_tensor for parameter in model.parameters())


def to_device(host: Host) -> Callable[..., torch.Tensor]:
    """Returns `Tensor.to` of a device that is not the host: what is the host's is copied to it."""
    move = torch.Tensor.to

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        is_there = host.has(tensor) and not host.is_current
        leaves = is_there and ("device" in kwargs or isinstance(args[0] if args else None, str | torch.device))
        return tensor.clone() if leaves else move(tensor, *args, **kwargs)

    return to


@contextmanager
def on_host(host: Host) -> Iterator[None]:
    """Replaces DeepSpeedCPUAdam's kernel, and tells the host's memory from the device's, which have the same name."""
    import cpuinfo
    from deepspeed.accelerator import get_accelerator
    from deepspeed.ops.adam import DeepSpeedCPUAdam, cpu_adam
    from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3 as Stage3
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    accumulate = DeepSpeedZeroOptimizer.async_accumulate_grad_in_cpu_via_gpu
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(cpu_adam, "CPUAdamBuilder"))
        stack.enter_context(mock.patch.object(cpuinfo, "get_cpu_info", return_value={}))  # it starts processes
        stack.enter_context(mock.patch.object(DeepSpeedCPUAdam, "step", host.allocates(DeepSpeedCPUAdam.step)))
        copied = host.allocates(accumulate)  # the sum of gradients so far is the host's
        stack.enter_context(mock.patch.object(DeepSpeedZeroOptimizer, accumulate.__name__, copied))
        checked = host.allocates(Stage3.has_overflow)  # it looks for what is infinite in the shares of all gradients
        stack.enter_context(mock.patch.object(Stage3, "has_overflow", checked))
        stack.enter_context(mock.patch.object(torch.Tensor, "to", to_device(host)))
        for owner, name in (
            (Stage3, "_create_fp32_partitions"),
            (Stage3, "initialize_optimizer_states"),
            (DeepSpeedZeroOptimizer, "initialize_optimizer_states"),
        ):
            stack.enter_context(mock.patch.object(owner, name, host.allocates(getattr(owner, name))))
        on_device = mock.patch.object(get_accelerator(), "on_accelerator", lambda tensor: not host.has(tensor))
        stack.enter_context(on_device)
        yield

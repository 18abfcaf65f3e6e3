"""Divides a model with FSDP2 as accelerate does, and lets it offload to the host on fake tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPCommContext, FSDPParamGroup
from torch.utils._python_dispatch import _disable_current_modes

from planner.allocator.streams import Stream
from planner.replay.backend import Backend
from planner.replay.engines.engine import At, anywhere
from planner.replay.engines.fsdp import FsdpEngine
from planner.replay.recording.streams import name_stream
from planner.replay.setup.build import half
from planner.replay.setup.cpu_offload import DEVICE, HOST
from planner.replay.structure.source import base_of
from planner.replay.structure.stacks import stacks
from strategies import DataParallel, Fsdp2, Strategy, raises_trained


class Fsdp2Engine(FsdpEngine):
    """Runs a step with `fully_shard`."""

    sharding: Fsdp2
    evaluations = 2  # since the first leaves units gathered, also for the step that is next
    repeats_after_evaluation = True

    def __init__(self, strategy: Strategy, world_size: int) -> None:
        super().__init__(strategy, world_size)
        self.mesh: Any = None

    def connect(self) -> None:
        """Makes the device mesh of the ranks."""
        self.mesh = mesh_of(self.sharding, self.world_size)

    @contextmanager
    def patches(self) -> Iterator[None]:
        """Names FSDP2's streams, and lets it offload to `HOST` where the sharding offloads."""
        with _named_streams(), _offloading() if self.sharding.on_host else nullcontext():
            yield

    def place(self, model: Any, backend: Backend, at: At = anywhere) -> Any:
        """Shards the model and moves the shards to the device, or to the host."""
        with _disable_current_modes():  # a mesh is a tensor whose values are read: not fake
            if raises_trained(self.strategy.precision, self.strategy.finetuning, self.sharding):
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.data = parameter.data.float()
            shard(model, self.mesh, self.strategy)
        return _on_host(model).train() if self.sharding.on_host else model.to_empty(device=backend.device).train()

    @contextmanager
    def micro_batch(self, model: Any, *, last: bool) -> Iterator[None]:
        """Leaves gradients unreduced in all but the last micro-batch, unless each is to be reduced.

        Source: accelerate/accelerator.py, `no_sync`.
        """
        waits = self.waits(last=last)
        if waits:
            model.set_requires_gradient_sync(False)
        yield
        if waits:
            model.set_requires_gradient_sync(True)


def _on_host(model: torch.nn.Module) -> torch.nn.Module:
    """Moves the parameters to the host, as FSDP2 requires; buffers stay on the device. Nothing is initialized."""
    model = model.to_empty(device=HOST)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_like(buffer, device=DEVICE)
    return model


@contextmanager
def _named_streams() -> Iterator[None]:
    """Names the streams that FSDP2 makes (_fully_shard/_fsdp_param_group.py, `FSDPCommContext.lazy_init`).

    It waits for events instead of `record_stream`, so that a freed block serves its own stream again at once.
    """
    context: Any = FSDPCommContext
    make = context.lazy_init

    def made(self: Any, device: torch.device) -> None:
        make(self, device)
        name_stream(self.all_gather_copy_in_stream, Stream.GATHER)
        name_stream(self.reduce_scatter_stream, Stream.REDUCE)
        name_stream(self.all_reduce_stream, Stream.REPLICATE)

    context.lazy_init = made
    try:
        yield
    finally:
        context.lazy_init = make


@contextmanager
def _offloading() -> Iterator[None]:
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


def mesh_of(sharding: DataParallel, world_size: int) -> Any:
    """Makes the device mesh of FSDP2: `[ranks]`, or `[replicas, shards]` where the model is divided within groups."""
    from torch.distributed.device_mesh import init_device_mesh

    shards = sharding.ranks(world_size)
    if shards == world_size:
        return init_device_mesh("cpu", (world_size,))
    return init_device_mesh("cpu", (world_size // shards, shards), mesh_dim_names=("replicate", "shard"))


def shard(model: Any, mesh: Any, strategy: Strategy) -> None:
    """Divides a model into FSDP2 units as accelerate does (accelerate/utils/fsdp_utils.py, `fsdp2_prepare_model`).

    Each block is a unit, so are the embedding and the final norm with the head; the unit of the model has the rest.
    """
    sharding = strategy.sharding
    assert isinstance(sharding, Fsdp2)
    mixed = strategy.precision.facts.autocast_bytes is not None
    dtype = half(strategy.precision) if mixed else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=dtype)
    units: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": policy,
        "reshard_after_forward": sharding.reshard_size or sharding.reshards,
        "offload_policy": CPUOffloadPolicy(pin_memory=False) if sharding.on_host else OffloadPolicy(),
    }
    base = base_of(model)
    for _, blocks in stacks(base):
        for block in blocks:
            fully_shard(block, **units)
    if hasattr(base, "get_input_embeddings"):
        _shard_ends(base, units)
    fully_shard(model, **{**units, "reshard_after_forward": None})


def _shard_ends(base: Any, units: dict[str, Any]) -> None:
    """Makes a unit of a language model's embedding and one of its final norm and head; tied, all are in one unit."""
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    ends = [module for module in (embedding, head) if module is not None]
    if _shared_elsewhere(base, ends):
        return  # modules that share a weight must be in one unit: here that of the whole model
    body = getattr(base, base.base_model_prefix, None)
    norms = [module for module in body.children() if "Norm" in type(module).__name__][-1:] if body is not None else []
    tied = head is not None and embedding.weight is head.weight
    if not tied:
        fully_shard(embedding, **units)
    if last := [*norms, *([embedding] if tied else []), *([head] if head is not None else [])]:
        fully_shard(last, **{**units, "reshard_after_forward": False})


def _shared_elsewhere(base: Any, ends: list[Any]) -> bool:
    """Returns whether modules outside these share a parameter with them."""
    own = {id(p) for module in ends for p in module.parameters()}
    inside = {id(module) for end in ends for module in end.modules()}
    others = (m for m in base.modules() if id(m) not in inside)
    return any(id(p) in own for m in others for p in m.parameters(recurse=False))

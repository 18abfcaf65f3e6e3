"""Divides a model with FSDP1 as accelerate does with `fsdp_version: 1`.

Every block is a unit, and with PEFT so is every module whose weight trains, such as both matrices of an adapter; the
root has the rest: embeddings, final norm and head. Sources: accelerate/accelerator.py, `prepare_model`;
accelerate/utils/dataclasses.py, `FullyShardedDataParallelPlugin`; peft/utils/other.py, `fsdp_auto_wrap_policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.distributed.fsdp import (
    BackwardPrefetch,
    CPUOffload,
    FullyShardedDataParallel,
    MixedPrecision,
    ShardingStrategy,
)
from torch.distributed.fsdp.wrap import _or_policy, lambda_auto_wrap_policy, transformer_auto_wrap_policy

from planner.replay.backend import Backend
from planner.replay.engines.engine import At, Labelling, Named, anywhere, ties_of
from planner.replay.engines.fsdp import FsdpEngine
from planner.replay.engines.fsdp1_fake import (
    moved_to_host,
    on_fake_tensors,
    on_host,
    with_broadcast_states,
    with_named_streams,
    with_quant_states,
)
from planner.replay.engines.fsdp2 import mesh_of
from planner.replay.setup.build import half
from planner.replay.setup.checkpoints import checkpoint_calls
from planner.replay.structure.source import base_of
from planner.replay.structure.stacks import stacks
from strategies import Finetuning, Fsdp1, Lora, Sharding, Strategy

KINDS = {
    Sharding.FULL_SHARD: ShardingStrategy.FULL_SHARD,
    Sharding.SHARD_GRAD_OP: ShardingStrategy.SHARD_GRAD_OP,
    Sharding.HYBRID_SHARD: ShardingStrategy.HYBRID_SHARD,
}
"""torch's name of each sharding."""


class Fsdp1Engine(FsdpEngine):
    """Runs a step with `FullyShardedDataParallel`."""

    sharding: Fsdp1

    def __init__(self, strategy: Strategy, world_size: int) -> None:
        super().__init__(strategy, world_size)
        self.groups: Any = None
        """The ranks that divide a copy of the model and those that hold the same shard; None: all divide one copy."""
        self.broadcasts = False
        """Whether the first rank sends its weights, as it does unless the step's device is the real CPU, which FSDP1
        refuses to send from."""
        self.raised: list[tuple[str, torch.Tensor]] = []
        """Shards that have been raised to fp32, with the paths of their units."""
        self._visit: Callable[[Any], None] = lambda unit: None
        """Says that what follows belongs to the block of a unit."""

    def connect(self) -> None:
        """Makes the groups of ranks, where each divides a copy of the model."""
        if self.sharding.replicas(self.world_size) > 1:
            mesh = mesh_of(self.sharding, self.world_size)
            self.groups = mesh.get_group(1), mesh.get_group(0)

    @contextmanager
    def patches(self) -> Iterator[None]:
        """Lets FSDP1 run on fake tensors, and offload to the host where the sharding does."""
        offloads = on_host() if self.sharding.on_host else nullcontext()
        self.broadcasts = True
        fake = on_fake_tensors(lambda unit: self._visit(unit))
        with fake, with_named_streams(), with_quant_states(), with_broadcast_states(), offloads:
            yield
        self.broadcasts = False

    def place(self, model: Any, backend: Backend, at: At = anywhere) -> Any:
        """Makes flat parameters of the model, unit by unit, on the device, and moves them to the host if asked."""
        paths = {module: path for path, module in model.named_modules()}
        self._visit = lambda unit: at(paths[unit.module])
        mixed = self.strategy.precision.facts.autocast_bytes is not None
        dtype = half(self.strategy.precision) if mixed else None
        if dtype is not None:
            from accelerate.utils.operations import convert_outputs_to_fp32

            model.forward = convert_outputs_to_fp32(torch.autocast(backend.device, dtype=dtype)(model.forward))
        # a checkpoint has half precision, and the shards are raised; beside adapters the base has it in any case
        loaded = dtype if self.strategy.finetuning.method is Finetuning.FULL else None
        wrapped = FullyShardedDataParallel(
            model,
            process_group=self.groups,
            sharding_strategy=KINDS[self.sharding.choice],
            cpu_offload=CPUOffload(self.sharding.on_host),
            auto_wrap_policy=_policy(model, self.strategy),
            # the answers of `accelerate config`; Trainer's own `fsdp_config` has no prefetch
            backward_prefetch=BackwardPrefetch.BACKWARD_PRE,
            mixed_precision=MixedPrecision(dtype, dtype, dtype) if mixed else None,
            param_init_fn=_materialize(model, torch.device(backend.device), loaded, lambda module: at(paths[module])),
            device_id=torch.device(backend.device),
            sync_module_states=self.broadcasts,
            use_orig_params=True,
        )
        if mixed:
            for unit in FullyShardedDataParallel.fsdp_modules(wrapped):
                at(paths[unit.module])
                self.raised += ((paths[unit.module], shard) for shard in _raised(unit))
        if self.strategy.checkpointing.choice.facts.reentrant:
            checkpoint_calls((unit, unit.module) for unit in FullyShardedDataParallel.fsdp_modules(wrapped))
        if self.sharding.on_host:
            moved_to_host(wrapped)
        return wrapped.train()

    def watch(self, trained: Named, live: Labelling) -> None:
        """Labels shards that have been raised: until the first forward, names stand for those in half precision."""
        live.label("parameters", [(f"{path} in fp32".lstrip(), shard, None) for path, shard in self.raised])

    def micro_batch(self, model: Any, *, last: bool) -> AbstractContextManager[None]:
        """Leaves gradients unreduced in all but the last micro-batch, unless each is to be reduced.

        Source: accelerate/accelerator.py, `no_sync`.
        """
        waits = self.waits(last=last)
        context: AbstractContextManager[None] = model.no_sync() if waits else nullcontext()
        return context

    def after_zeroing(self, model: Any) -> None:
        """Frees the flat gradients, which FSDP1 does when the next forward begins (`_root_pre_forward`)."""
        for unit in FullyShardedDataParallel.fsdp_modules(model):
            if unit._handle is not None:
                unit._handle._reset_flat_param_grad_info_if_needed()


def _policy(model: Any, strategy: Strategy) -> Callable[..., bool]:
    """Returns which modules are units: blocks, and with PEFT modules without children whose weight trains."""
    classes = {type(block) for _, blocks in stacks(base_of(model)) for block in blocks}
    blocks = partial(transformer_auto_wrap_policy, transformer_layer_cls=classes)
    if not isinstance(strategy.finetuning, Lora):
        return blocks
    return partial(_or_policy, policies=[partial(lambda_auto_wrap_policy, lambda_fn=_trains), blocks])


def _trains(module: torch.nn.Module) -> bool:
    """Returns whether a module has no children, and a weight that trains."""
    weight = getattr(module, "weight", None)
    return not any(module.children()) and weight is not None and bool(weight.requires_grad)


def _materialize(
    model: torch.nn.Module, device: torch.device, dtype: torch.dtype | None, at: Callable[[Any], None]
) -> Callable[[torch.nn.Module], None]:
    """Returns a function that makes a module's own tensors on a device, where what is tied exists once.

    Nothing is initialized. Source: accelerate/utils/fsdp_utils.py, `ensure_weights_retied`.

    Args:
        model: The model.
        device: The device.
        dtype: What parameters are made in; None for their own dtypes.
        at: Called with each module.
    """
    groups = {place: number for number, places in enumerate(ties_of(model)) for place in places}
    made: dict[int, torch.nn.Parameter] = {}

    def materialize(module: torch.nn.Module) -> None:
        at(module)
        for name, parameter in module._parameters.items():
            number = groups.get((module, name))
            if parameter is None:
                continue
            own = made.get(number) if number is not None else None
            if own is None:
                empty = torch.empty_like(parameter, device=device, dtype=dtype)
                own = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
            if number is not None:
                made[number] = own
            module._parameters[name] = own
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else torch.empty_like(buffer, device=device)

    return materialize


def _raised(unit: FullyShardedDataParallel) -> Iterator[torch.Tensor]:
    """Raises a flat parameter that trains to fp32, as accelerate does under mixed precision, and yields it."""
    flat: Any = unit._flat_param
    if unit._has_params and flat.requires_grad and flat.dtype is not torch.float32:
        flat.data = flat.data.to(torch.float32)
        handle: Any = unit._handle
        handle._orig_param_dtype = torch.float32
        yield flat

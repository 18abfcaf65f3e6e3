"""Builds what a strategy says with the real libraries: model, adapters, checkpointing, FSDP2, optimizer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from planner.replay import compiled, flash, fused_loss, liger, subject
from planner.replay.backend import Backend
from planner.replay.blocks import stacks
from planner.replay.quantized import quantize
from planner.replay.subject import EAGER, Source, base_of
from strategies import Attention, Checkpointing, Full, Lora, Optimizer, Precision, Quantization, Sharding, Strategy

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def half(precision: Precision) -> torch.dtype:
    return DTYPES[precision.facts.matmul_dtype]


def stored(precision: Precision, *, trains: bool) -> torch.dtype:
    """Of the base model's weights."""
    facts = precision.facts
    return torch.float32 if (facts.trained_bytes if trains else facts.frozen_bytes) == 4 else half(precision)


def autocast_dtype(strategy: Strategy) -> torch.dtype | None:
    """FSDP2 computes in the gathered parameters' dtype instead (accelerate, `_prepare_fsdp2`)."""
    mixed = strategy.precision.facts.autocast_bytes is not None and not strategy.sharding.shards
    return half(strategy.precision) if mixed else None


def is_quantized(strategy: Strategy) -> bool:
    return isinstance(strategy.finetuning, Lora) and strategy.finetuning.quantization is not Quantization.NONE


def build(source: Source, strategy: Strategy, backend: Backend) -> Any:
    """The base model on the meta device."""
    dtype = stored(strategy.precision, trains=isinstance(strategy.finetuning, Full))
    attention = strategy.attention
    uses_sdpa = attention in (Attention.SDPA, Attention.SDPA_EFFICIENT)
    return subject.build(source, dtype, backend.sdpa if uses_sdpa else flash.IMPLEMENTATIONS.get(attention, EAGER))


def equip(model: Any, strategy: Strategy, *, adds_in_place: bool = True) -> Any:
    """Kernels, adapters, quantization and checkpointing: the model as a training script has it before it is placed.
    `adds_in_place`: see `fused_loss.fuse`."""
    method = strategy.finetuning
    liger.patch(model, strategy.kernels)
    fused_loss.fuse(model, strategy.loss, adds_in_place=adds_in_place)
    if strategy.optimizer is Optimizer.ADAFACTOR:
        import transformers.optimization  # noqa: F401  # importing it makes tensors, which belong to no step
    if isinstance(method, Lora):
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=method.rank, target_modules=_targets(model, method)))
        if is_quantized(strategy):
            double = method.quantization is Quantization.NF4_DOUBLE
            autocast = autocast_dtype(strategy) is not None
            quantize(model, head_of(base_of(model)), half(strategy.precision), double, autocast=autocast)
    compiled.compile_blocks(model, strategy.kernels)
    if strategy.checkpointing is Checkpointing.FULL:
        _checkpoint(model, adapted=isinstance(method, Lora))
    return model


def _targets(model: Any, method: Lora) -> str | list[str]:
    """PEFT knows what "all-linear" means for models of transformers: every linear layer but the head."""
    if not isinstance(method.targets, str):
        return list(method.targets)
    return method.targets if hasattr(model, "main_input_name") else linear_layers(model)


def linear_layers(model: Any) -> list[str]:
    """Paths of all linear layers but the head."""
    head = head_of(model)
    return [path for path, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]


def head_of(base: Any) -> Any:
    """The layer of the outputs, which is never quantized or adapted: of a model without output embeddings the last
    linear one (transformers/quantizers/base.py, `get_keys_to_not_convert`; peft/tuners/tuners_utils.py,
    `_maybe_include_all_linear_layers`)."""
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if head is not None:
        return head
    return next((m for m in reversed(list(base.modules())) if isinstance(m, torch.nn.Linear)), None)


def _checkpoint(model: Any, *, adapted: bool) -> None:
    """As Trainer turns it on; in a module of the user's own, every block of its lists is checkpointed."""
    if hasattr(model, "gradient_checkpointing_enable"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if adapted:
            model.enable_input_require_grads()
        return
    for _, blocks in stacks(model):
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def place(model: Any, strategy: Strategy, mesh: Any, backend: Backend) -> Any:
    """An equipped model on the backend's device, sharded where there is a mesh. Its weights are not initialized."""
    if mesh is not None:
        shard(model, mesh, strategy)
    model = model.to_empty(device=backend.device)
    if mesh is None and hasattr(base_of(model), "tie_weights"):
        base_of(model).tie_weights()
    return model.train()


def optimizer_of(optimizer: Optimizer, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """As Trainer makes it. (bitsandbytes' 8-bit AdamW makes its states with GPU kernels: it cannot be replayed.)"""
    if optimizer in (Optimizer.ADAMW, Optimizer.ADAMW_FOREACH):
        foreach = optimizer is Optimizer.ADAMW_FOREACH
        return torch.optim.AdamW(parameters, lr=1e-4, foreach=foreach, fused=not foreach)
    if optimizer is Optimizer.ADAFACTOR:
        from transformers import Adafactor

        options = {"lr": 1e-3, "scale_parameter": False, "relative_step": False}
        adafactor: torch.optim.Optimizer = Adafactor(parameters, **options)
        return adafactor
    momentum = 0.9 if optimizer is Optimizer.SGD_MOMENTUM else 0.0
    return torch.optim.SGD(parameters, lr=1e-2, momentum=momentum, foreach=True)


def ranks(world_size: int) -> Any:
    """A device mesh over a process group that only pretends to communicate."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())
    return init_device_mesh("cpu", (world_size,))


def shard(model: Any, mesh: Any, strategy: Strategy) -> None:
    """FSDP2 units as accelerate makes them (accelerate/utils/fsdp_utils.py, `fsdp2_prepare_model`)."""
    mixed = strategy.precision.facts.autocast_bytes is not None
    dtype = half(strategy.precision) if mixed else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=dtype)
    units: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": policy,
        "reshard_after_forward": strategy.sharding is Sharding.FULL_SHARD,
    }
    base = base_of(model)
    for _, blocks in stacks(base):
        for block in blocks:
            fully_shard(block, **units)
    if hasattr(base, "get_input_embeddings"):
        _shard_ends(base, units)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _shard_ends(base: Any, units: dict[str, Any]) -> None:
    """What stands before and behind the blocks of a language model."""
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    ends = [module for module in (embedding, head) if module is not None]
    if _shared_elsewhere(base, ends):
        return  # all that share a weight belong to one unit: here that of the whole model
    outside = [(n, m) for n, m in base.named_modules() if not any(part.isdigit() for part in n.split("."))]
    norms = [m for n, m in outside if n.split(".")[-1] in ("norm", "ln_f", "final_layer_norm")]
    tied = head is not None and embedding.weight is head.weight
    if not tied:
        fully_shard(embedding, **units)
    if last := [*norms, *([embedding] if tied else []), *([head] if head is not None else [])]:
        fully_shard(last, **{**units, "reshard_after_forward": False})


def _shared_elsewhere(base: Any, ends: list[Any]) -> bool:
    """Whether a parameter of these modules is one of other modules as well."""
    own = {id(p) for module in ends for p in module.parameters()}
    inside = {id(module) for module in ends}
    others = (m for m in base.modules() if id(m) not in inside)
    return any(id(p) in own for m in others for p in m.parameters(recurse=False))

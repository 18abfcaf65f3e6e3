"""Builds the model of a strategy with the real libraries: kernels, adapters, quantization, checkpointing and FSDP2."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import signature
from typing import Any

import torch
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.utils._python_dispatch import _disable_current_modes

from planner.replay.backend import Backend
from planner.replay.setup.accounts import ACCOUNTS
from planner.replay.setup.checkpoints import checkpoint_blocks, choose_blocks
from planner.replay.setup.cpu_offload import place_on_host
from planner.replay.setup.optimizers import prepare
from planner.replay.stand_ins import compiled, flash, fused_loss, liger
from planner.replay.stand_ins.float8 import convert
from planner.replay.stand_ins.quantized import quantize
from planner.replay.stand_ins.separate_experts import adapted_apart, separate
from planner.replay.structure import source as subject
from planner.replay.structure.source import EAGER, Source, base_of
from planner.replay.structure.stacks import stacks
from planner.replay.structure.trainable import choose, names_of, trained_modules
from strategies import (
    AdapterDtype,
    Attention,
    BitFit,
    ContradictionError,
    DataParallel,
    Freeze,
    Full,
    Lora,
    LoraVariant,
    Precision,
    Quantization,
    Sharded,
    Strategy,
    quantization_of,
)

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""torch's dtype of each dtype of the catalog."""

MAX_RANKS = 2**12
"""Largest number of ranks in a replay. torch lists all ranks of a mesh several times over: 8,192 take 13 s, and 67
million take more memory than there is."""


def half(precision: Precision) -> torch.dtype:
    """Returns the dtype of matrix products, which is fp32 for full precision and TF32."""
    return DTYPES[precision.facts.matmul_dtype]


def stored(precision: Precision, *, trains: bool) -> torch.dtype:
    """Returns the dtype in which the base model's weights are stored; `trains` says whether they are trained."""
    facts = precision.facts
    return torch.float32 if (facts.trained_bytes if trains else facts.frozen_bytes) == 4 else half(precision)


def autocast_dtype(strategy: Strategy) -> torch.dtype | None:
    """Returns the dtype of autocast, or None where forward runs without it.

    With FSDP2 there is none: it computes in the dtype of the gathered parameters (accelerate, `_prepare_fsdp2`).
    """
    mixed = strategy.precision.facts.autocast_bytes is not None and not strategy.sharding.shards
    return half(strategy.precision) if mixed else None


def is_quantized(strategy: Strategy) -> bool:
    """Returns whether the base model's linear layers are quantized (QLoRA)."""
    return quantization_of(strategy.finetuning) is not Quantization.NONE


def is_nf4(strategy: Strategy) -> bool:
    """Returns whether these layers are quantized to NF4, with or without double quantization."""
    return quantization_of(strategy.finetuning) in (Quantization.NF4, Quantization.NF4_DOUBLE)


def build(source: Source, strategy: Strategy, backend: Backend) -> Any:
    """Builds the base model on the meta device, and marks its checkpointed blocks and trainable parameters.

    Raises:
        ContradictionError: No replay runs a choice of the strategy.
        PlannerError: The configuration is refused, or the model's code fails.
    """
    if reason := ACCOUNTS.lacking(strategy):
        raise ContradictionError(f"this configuration cannot be replayed: {reason}", "estimate needs no replay")
    dtype = stored(strategy.precision, trains=isinstance(strategy.finetuning, Full))
    attention = strategy.attention
    sdpa = backend.sdpa
    plain = {Attention.EAGER: EAGER, Attention.SDPA: sdpa, Attention.SDPA_EFFICIENT: sdpa}
    implementation = {**plain, **flash.IMPLEMENTATIONS}[attention]
    model = subject.build(source, dtype, implementation)
    choose_blocks(model, strategy.checkpointing)
    if isinstance(strategy.finetuning, Freeze | BitFit):
        choose(model, strategy.finetuning, stored(strategy.precision, trains=True))
    return model


def equip(model: Any, strategy: Strategy, *, adds_in_place: bool = True) -> Any:
    """Gives a base model its kernels, loss, adapters, quantization and checkpointing.

    Args:
        model: What `build` returned, perhaps shortened; it is changed in place.
        strategy: The strategy.
        adds_in_place: Whether liger-kernel adds to the head's gradient in place; see `fused_loss.fuse`.

    Returns:
        The model as a training script has it before it is placed on a device: PEFT's wrapper where there are adapters.
    """
    method = strategy.finetuning
    prepare(strategy.optimizer)
    liger.patch(model, strategy.kernels)
    fused_loss.fuse(model, strategy.loss, adds_in_place=adds_in_place)
    if isinstance(method, Lora):
        if method.separates_experts:
            separate(model)
        with adapted_apart() if method.separates_experts else nullcontext():
            model = _adapted(model, method)
        if is_quantized(strategy):
            compute = half(strategy.precision)
            storage = compute if strategy.sharding.shards else torch.uint8
            quantize(model, head_of(base_of(model)), compute, method, storage)
    if strategy.precision.facts.linear_dtype == "fp8":
        convert(model)
    compiled.compile_blocks(model, strategy.kernels)
    if strategy.checkpointing.recomputes:
        checkpoint_blocks(model, strategy.checkpointing, adapted=isinstance(method, Lora))
    return model


def _adapted(model: Any, method: Lora) -> Any:
    """Wraps a model in PEFT's, with adapters."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=method.rank,
        target_modules=_targets(model, method),
        lora_dropout=method.dropout,
        use_rslora=method.variant is LoraVariant.RSLORA,
        use_dora=method.variant is LoraVariant.DORA,
        modules_to_save=names_of(model, trained_modules(model, method.trained_modules)) or None,
    )
    in_fp32 = method.adapter_dtype is AdapterDtype.FP32
    return get_peft_model(model, settings, autocast_adapter_dtype=in_fp32)


def _targets(model: Any, method: Lora) -> str | list[str]:
    """Returns PEFT's `target_modules`.

    For models of transformers PEFT resolves "all-linear" itself: every linear layer but the head. It cannot adapt
    layers that return more than a tensor (Llama 4's router): the other layers are named then.
    """
    if not isinstance(method.targets, str):
        return list(method.targets)
    plain = hasattr(model, "main_input_name") and not any(_returns_more(m) for m in model.modules())
    return method.targets if plain else linear_layers(model)


def _returns_more(module: torch.nn.Module) -> bool:
    """Returns whether a linear layer overrides forward without the annotation `torch.Tensor` (Falcon's has it)."""
    forward = type(module).forward
    if not isinstance(module, torch.nn.Linear) or forward is torch.nn.Linear.forward:
        return False
    return signature(forward, eval_str=True).return_annotation is not torch.Tensor


def linear_layers(model: Any) -> list[str]:
    """Returns the paths of all linear layers that PEFT can adapt, which excludes the head."""
    head = head_of(model)
    found = [(path, m) for path, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return [path for path, m in found if not _returns_more(m)]


def head_of(base: Any) -> Any:
    """Returns the output layer, which is never quantized or adapted; None for a model without linear layers.

    Without output embeddings it is the last linear layer (transformers/quantizers/base.py, `get_keys_to_not_convert`;
    peft/tuners/tuners_utils.py, `_maybe_include_all_linear_layers`).
    """
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if head is not None:
        return head
    return next((m for m in reversed(list(base.modules())) if isinstance(m, torch.nn.Linear)), None)


def place(model: Any, strategy: Strategy, mesh: Any, backend: Backend) -> Any:
    """Shards an equipped model over a mesh, and moves it to the backend's device or to the host.

    Args:
        model: What `equip` returned.
        strategy: The strategy.
        mesh: The device mesh of FSDP2; None where the model is not sharded.
        backend: Tells the device.

    Returns:
        The model in training mode, with tied weights tied again and no weight initialized.
    """
    if mesh is not None:
        with _disable_current_modes():  # a mesh is a tensor whose values are read: not fake
            shard(model, mesh, strategy)
    if strategy.sharding.on_host:
        return place_on_host(model).train()
    ties = _ties(model) if mesh is None else []
    model = model.to_empty(device=backend.device)
    for (owner, name), *others in ties:
        for module, own_name in others:
            module._parameters[own_name] = owner._parameters[name]
    return model.train()


def _ties(model: Any) -> list[list[tuple[Any, str]]]:
    """Returns the places (module, name) of each parameter with several: `to_empty` makes a new one in each."""
    places: dict[int, list[tuple[Any, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, name))
    return [found for found in places.values() if len(found) > 1]


def mesh_of(sharding: DataParallel, world_size: int) -> Any:
    """Makes the device mesh of FSDP2: `[ranks]`, or `[replicas, shards]` where the model is divided within groups."""
    from torch.distributed.device_mesh import init_device_mesh

    shards = sharding.ranks(world_size)
    if shards == world_size:
        return init_device_mesh("cpu", (world_size,))
    return init_device_mesh("cpu", (world_size // shards, shards), mesh_dim_names=("replicate", "shard"))


def ranks(sharding: DataParallel, world_size: int) -> Any:
    """Makes the device mesh of FSDP2 over a process group that only pretends to communicate (see `pretend`)."""
    pretend(world_size)
    return mesh_of(sharding, world_size)


def pretend(world_size: int) -> None:
    """Makes a process group whose collectives do nothing; this process is rank 0.

    Raises:
        ContradictionError: There are more than `MAX_RANKS` ranks.
    """
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if world_size > MAX_RANKS:
        raise ContradictionError(
            f"{world_size} ranks are more than a replay pretends", f"estimate takes any number, verify {MAX_RANKS}"
        )
    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())


def shard(model: Any, mesh: Any, strategy: Strategy) -> None:
    """Divides a model into FSDP2 units as accelerate does (accelerate/utils/fsdp_utils.py, `fsdp2_prepare_model`).

    Each block is a unit, so are the embedding and the final norm with the head; the unit of the model has the rest.
    """
    sharding = strategy.sharding
    assert isinstance(sharding, Sharded)
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

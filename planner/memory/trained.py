"""Which parameters of each part of a model train under a fine-tuning method."""

from __future__ import annotations

from typing import NamedTuple

from planner.memory.numerics import FP32, Numerics
from planner.models import Inventory
from strategies import BitFit, Freeze, Full, Lora, LoraVariant, Method, Strategy, TrainedModules


class Trained(NamedTuple):
    """Which of a part's own parameters train; adapters do wherever they are."""

    weights: bool = False
    """All."""
    biases: bool = False
    embedding: bool = False
    """The table of input embeddings: itself, or with a LoRA a copy."""
    head: bool = False
    """The language-model head, likewise."""


def trained_at_ends(method: Method, *, tied: bool) -> Trained:
    """Of stem and head. What is tied trains as one, but PEFT trains a copy for each."""
    if isinstance(method, Full):
        return Trained(weights=True, embedding=True, head=True)
    modules = getattr(method, "trained_modules", TrainedModules.NONE)
    embedding, head = modules.embeddings, modules.head
    if tied and not isinstance(method, Lora):
        embedding = head = embedding or head
    return Trained(biases=isinstance(method, BitFit), embedding=embedding, head=head)


def trained_in_blocks(method: Method, num_blocks: int) -> tuple[Trained, ...]:
    """Of each block."""
    first = num_blocks - method.trained_blocks if isinstance(method, Freeze) else 0
    own = Trained(weights=isinstance(method, Full | Freeze), biases=isinstance(method, BitFit))
    return tuple(own if i >= first else Trained() for i in range(num_blocks))


def copies_modules(method: Method) -> bool:
    """Whether PEFT trains copies of embedding or head, which are tied to nothing."""
    return isinstance(method, Lora) and method.trained_modules is not TrainedModules.NONE


def _lacks(inventory: Inventory, method: Method) -> str | None:
    """What a method asks for that other models than causal ones may not have."""
    architecture, modules = inventory.architecture, getattr(method, "trained_modules", TrainedModules.NONE)
    if modules.embeddings and not any(t.is_table for t in inventory.stem.tensors):
        return "the model has no token embeddings"
    if modules.head and architecture.objective == "each_sample":
        return "the model's head is a classifier, not the output embeddings that are trained as a module"
    if architecture.embeds_again is not None and (isinstance(method, Freeze) or modules is not TrainedModules.NONE):
        return "an encoder and a decoder share the embeddings: only all of them or none is modelled"
    return None


def obstacle(inventory: Inventory, strategy: Strategy) -> str | None:
    """Why the model has nothing to train so, or PEFT or FSDP2 refuses it."""
    method, tied, shards = strategy.finetuning, inventory.architecture.tied_to is not None, strategy.sharding.shards
    parts = (inventory.stem, *inventory.blocks.values(), inventory.head)
    if isinstance(method, BitFit) and not any(t.is_bias for part in parts for t in part.tensors):
        return "bitfit trains biases, and the model has none"
    if isinstance(method, Freeze) and method.trained_blocks > len(inventory.layer_kinds):
        return f"the model has {len(inventory.layer_kinds)} blocks"
    if lacking := _lacks(inventory, method):
        return lacking
    trains_in_half = strategy.precision.facts.trained_bytes < FP32
    one_dtype = "FSDP2" if shards else "ZeroRedundancyOptimizer" if strategy.sharding.divides_states else None
    if isinstance(method, Full | Freeze) and one_dtype and trains_in_half and inventory.keeps_fp32:
        # transformers' `_keep_in_fp32_modules_strict`; torch's `FSDPParamGroup._init_mp_dtypes` then raises, and
        # `_verify_same_dense_param_type` of ZeRO-1's optimizer.
        return f"{one_dtype} takes trained parameters of one dtype: transformers keeps this model's routers in fp32"
    if not isinstance(method, Lora):
        return None
    stored = Numerics.of(strategy.precision, method, strategy.sharding)
    if copies_modules(method) and strategy.sharding.divides_states and stored.stored_adapter != stored.stored_trained:
        return f"{one_dtype} takes trained parameters of one dtype: adapters are fp32, trained modules are not"
    if method.quantization.by_bitsandbytes and inventory.architecture.quantizes_experts:
        return "bitsandbytes' base has this model's experts one after the other: that forward is not modelled"
    if tied and shards and copies_modules(method):
        # the original of one module is the other's weight, and fully_shard takes a parameter once
        return "FSDP2 does not shard a tied weight apart from PEFT's trained copies of it"
    if any(layer.fused and all(map(method.adapts, layer.fused)) for part in parts for layer in part.linears):
        # peft/tuners/lora/layer.py, ParamWrapper: its adapter is folded into the weight
        if method.variant is LoraVariant.DORA:
            return "PEFT has no DoRA for the parameters of experts"
        if method.dropout:
            return "PEFT has no LoRA dropout for the parameters of experts"
    return None

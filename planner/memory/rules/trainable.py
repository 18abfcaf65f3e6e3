"""Says why a method trains nothing of a model, or what takes no such parameters."""

from __future__ import annotations

from planner.libraries.peft import CLASSIFIER_HEADS
from planner.memory.settings.dtypes import FP32, Dtypes
from planner.memory.settings.trainable import copies_modules, trains_classifier
from planner.models import Inventory
from strategies import (
    BitFit,
    Freeze,
    Fsdp2,
    Full,
    Lora,
    LoraVariant,
    Method,
    Replicated,
    Strategy,
    Task,
    TrainedModules,
    Zero,
    raises_trained,
)


def of_trainable(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says why a method has nothing to train, or why PEFT, FSDP2 or ZeRO-1 refuses it; None if neither holds."""
    method, parts = strategy.finetuning, inventory.parts
    if isinstance(method, BitFit) and not any(t.is_bias for part in parts for t in part.tensors):
        return "bitfit trains biases, and the model has none"
    if isinstance(method, Freeze) and method.trained_blocks > len(inventory.layer_kinds):
        return f"the model has {len(inventory.layer_kinds)} blocks"
    if lacking := _lacks(inventory, method):
        return lacking
    trains_in_half = strategy.precision.facts.trained_bytes < FP32
    one_dtype = _takes_one_dtype(strategy)
    if isinstance(method, Full | Freeze) and one_dtype and trains_in_half and inventory.keeps_fp32:
        # transformers' `_keep_in_fp32_modules_strict`; torch's `FSDPParamGroup._init_mp_dtypes` then raises, as does
        # `_verify_same_dense_param_type` of ZeRO-1's optimizer.
        return f"{one_dtype} takes trained parameters of one dtype: transformers keeps this model's routers in fp32"
    return _of_lora(inventory, strategy, method) if isinstance(method, Lora) else None


def _of_lora(inventory: Inventory, strategy: Strategy, method: Lora) -> str | None:
    """Says why adapters cannot train with trained modules, or at the layers they are added to; None if they can."""
    if reason := _in_fp16(strategy, method, inventory.architecture.task) or _adapts_copied(inventory, method):
        return reason
    stored = Dtypes.of(strategy.precision, method, strategy.sharding)
    copies = copies_modules(method, inventory.architecture.task)
    in_root = isinstance(strategy.sharding, Fsdp2) and _adapts_root(inventory, method)
    if copies and (strategy.sharding.divides_states or in_root) and stored.stored_adapter != stored.stored_trained:
        one_dtype = _takes_one_dtype(strategy)
        return f"{one_dtype} takes trained parameters of one dtype: adapters are fp32, trained modules are not"
    if method.quantization.by_bitsandbytes and inventory.architecture.quantizes_experts:
        return "bitsandbytes' base has this model's experts one after the other: that forward is not modelled"
    if inventory.architecture.tied_to is not None and isinstance(strategy.sharding, Fsdp2) and copies:
        # The frozen originals of both modules are one tied weight, and fully_shard takes a parameter only once.
        return "FSDP2 does not shard a tied weight apart from PEFT's trained copies of it"
    if method.separates_experts and not any(part.stacks for part in inventory.blocks.values()):
        return (
            "the model has no experts that were linear layers of their own in transformers 4; where a trainer such as "
            "Unsloth quantizes them, it runs a forward of its own, which is not modelled: none keeps them in 16 bits"
        )
    if adapts_fused(inventory, method):
        # peft/tuners/lora/layer.py, ParamWrapper: the adapter is folded into the weight
        if method.variant is LoraVariant.DORA:
            return "PEFT has no DoRA for the parameters of experts and routers: name targets without them"
        if method.dropout:
            return "PEFT has no LoRA dropout for the parameters of experts and routers: name targets without them"
    return None


def _in_fp16(strategy: Strategy, method: Lora, task: Task) -> str | None:
    """Says that a classifier's head would train in fp16, where PEFT copies it from a base in fp16; None if not.

    Source: torch/amp/grad_scaler.py, `_unscale_grads_`.
    """
    raised = method.is_prepared or raises_trained(strategy.precision, method, strategy.sharding)
    if strategy.precision.facts.matmul_dtype != "fp16" or isinstance(strategy.sharding, Zero) or raised:
        return None
    if not trains_classifier(method, task):
        return None
    reason = "gradient scaling refuses a classifier's head in fp16, in which PEFT copies it from the base"
    return f"{reason}: precision fp32 or bf16, or qlora, which leaves the head in fp32"


def _adapts_copied(inventory: Inventory, method: Lora) -> str | None:
    """Says that adapters are added to a layer of which PEFT then copies the module; None if they are not.

    PEFT copies every module whose name ends like a head's (peft/utils/other.py, `_set_trainable`), and leaves only the
    head itself out of "all-linear" (peft/tuners/tuners_utils.py, `_maybe_include_all_linear_layers`).
    """
    if not trains_classifier(method, inventory.architecture.task):
        return None
    beside = (w for w in inventory.head.linears if w.in_head and w.name.partition(".")[0] not in CLASSIFIER_HEADS)
    if (name := next((w.name for w in beside if all(map(method.adapts, w.target_names))), None)) is None:
        return None
    targets = ",".join(inventory.target_names)
    return f"PEFT copies {name} with the head, which it cannot once it is adapted: --lora-targets {targets}"


def _adapts_root(inventory: Inventory, method: Lora) -> bool:
    """Returns whether adapters are in one unit of FSDP2 with a classifier's head, as those of a pooler are."""
    classifies = trains_classifier(method, inventory.architecture.task)
    beside = (layer for layer in inventory.head.linears if not layer.in_head)
    return classifies and any(all(map(method.adapts, layer.target_names)) for layer in beside)


def _takes_one_dtype(strategy: Strategy) -> str | None:
    """Returns the class that wants all trained parameters in one dtype; None if there is none."""
    sharding = strategy.sharding
    if isinstance(sharding, Fsdp2):
        return "FSDP2"
    return "ZeroRedundancyOptimizer" if isinstance(sharding, Replicated) and sharding.divides_states else None


def _lacks(inventory: Inventory, method: Method) -> str | None:
    """Says what a method needs that only causal models are sure to have; None if nothing is lacking."""
    architecture, modules = inventory.architecture, getattr(method, "trained_modules", TrainedModules.NONE)
    if modules.embeddings and not any(t.is_table for t in inventory.stem.tensors):
        return "the model has no token embeddings"
    if modules.head and architecture.objective == "each_pair":
        return "an embedding model has no head that could be trained as a module"
    if modules.head and trains_classifier(method, architecture.task):
        return "PEFT trains a classifier's head beside adapters anyway: leave head out of --trained-modules"
    if architecture.embeds_again is not None and (isinstance(method, Freeze) or modules is not TrainedModules.NONE):
        return "an encoder and a decoder share the embeddings: only all of them or none is modelled"
    return None


def adapts_fused(inventory: Inventory, method: Lora) -> bool:
    """Returns whether adapters are at parameters that several linear layers of a model are fused into."""
    parts = inventory.parts
    whole = (w for part in parts for w in part.linears if not (method.separates_experts and w.is_stack))
    return any(layer.fused and all(map(method.adapts, layer.fused)) for layer in whole)

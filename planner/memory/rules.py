"""Says which strategies a model cannot be trained with because of what it consists of, and why.

`strategies/rules/` has the rules that hold for every model; `planner/models/support.py` says which kernels libraries
have for a model.
"""

from __future__ import annotations

from planner.libraries.deepspeed import GATHERED_WHOLE
from planner.memory.accounts import ACCOUNTS
from planner.memory.settings.dtypes import FP32, Dtypes
from planner.memory.settings.trainable import copies_modules
from planner.memory.sharding.state import stored_itemsize
from planner.models import Inventory
from planner.models.decoder import Decoder
from planner.models.parameters import ParameterTensor
from planner.models.support import unsupported
from strategies import (
    Attention,
    Batching,
    BitFit,
    Freeze,
    Fsdp1,
    Fsdp2,
    Full,
    Kernels,
    Lora,
    LoraVariant,
    Loss,
    LowRank,
    Method,
    Operation,
    Outputs,
    Quantization,
    Replicated,
    Rowwise,
    Strategy,
    TrainedModules,
    Update,
    Zero,
    quantization_of,
)

MASKED = (Attention.SDPA, Attention.SDPA_EFFICIENT, Attention.EAGER)
"""Attention that takes masks of samples; other attention takes the positions at which samples begin."""


def violation(inventory: Inventory, strategy: Strategy, batching: Batching) -> str | None:
    """Says why a model cannot be trained with a strategy; None if it can.

    Args:
        inventory: The model's parameters.
        strategy: The strategy.
        batching: How samples of different lengths become sequences.
    """
    if reason := ACCOUNTS.lacking(strategy):
        return reason
    if batching is not Batching.FULL and strategy.attention not in MASKED:
        return f"{strategy.attention} is known for full sequences alone, not for {batching} ones"
    if batching is not Batching.FULL and strategy.kernels is Kernels.COMPILE:
        return f"compiled blocks have an account for full sequences alone, not for {batching} ones"
    return next((reason for rule in RULES if (reason := rule(inventory, strategy))), None)


def unevaluated(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says why an evaluation between steps is not known; None if it is."""
    if strategy.kernels is Kernels.COMPILE:
        return "compiled blocks have no account of evaluation"
    if inventory.architecture.objective == "each_pair":
        return "an evaluation of sentence embeddings is not derived"
    return None


def unpaired(inventory: Inventory, strategy: Strategy, outputs: Outputs, world_size: int) -> str | None:
    """Says what is not derived where a model runs twice before a backward; None if all is, or it runs once."""
    if inventory.architecture.objective != "each_pair":
        return None
    if outputs is not Outputs.RELEASED:
        return "the ranking loss of sentence-transformers returns no outputs that a loop could keep"
    twice = "contrastive training runs the model twice before backward"
    if not isinstance(strategy.sharding, Replicated):
        return f"{twice}: that is derived for whole models alone"
    if strategy.checkpointing.choice.facts.reentrant and world_size > 1:
        return f"{twice}, and within reentrant checkpoints DDP would be given each gradient twice"
    if strategy.update is Update.IN_BACKWARD:
        return f"{twice}: updates in backward are not derived"
    if strategy.precision.facts.linear_dtype == "fp8":
        return f"{twice}: fp8 is not derived"
    return None


# --- what trains ---


def _of_trainable(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says why a method has nothing to train, or why PEFT, FSDP2 or ZeRO-1 refuses it; None if neither holds."""
    method, tied, shards = strategy.finetuning, inventory.architecture.tied_to is not None, _by_fsdp2(strategy)
    parts = inventory.parts
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
    if not isinstance(method, Lora):
        return None
    stored = Dtypes.of(strategy.precision, method, strategy.sharding)
    if copies_modules(method) and strategy.sharding.divides_states and stored.stored_adapter != stored.stored_trained:
        return f"{one_dtype} takes trained parameters of one dtype: adapters are fp32, trained modules are not"
    if method.quantization.by_bitsandbytes and inventory.architecture.quantizes_experts:
        return "bitsandbytes' base has this model's experts one after the other: that forward is not modelled"
    if tied and shards and copies_modules(method):
        # The frozen originals of both modules are one tied weight, and fully_shard takes a parameter only once.
        return "FSDP2 does not shard a tied weight apart from PEFT's trained copies of it"
    if method.separates_experts and not any(part.stacks for part in inventory.blocks.values()):
        return "the model has no experts that were linear layers of their own in transformers 4"
    if _adapts_fused(inventory, method):
        # peft/tuners/lora/layer.py, ParamWrapper: the adapter is folded into the weight
        if method.variant is LoraVariant.DORA:
            return "PEFT has no DoRA for the parameters of experts and routers: name targets without them"
        if method.dropout:
            return "PEFT has no LoRA dropout for the parameters of experts and routers: name targets without them"
    return None


def _by_fsdp2(strategy: Strategy) -> bool:
    return isinstance(strategy.sharding, Fsdp2)


def _takes_one_dtype(strategy: Strategy) -> str | None:
    """Returns the class that wants all trained parameters in one dtype; None if there is none."""
    sharding = strategy.sharding
    if isinstance(sharding, Fsdp2):
        return "FSDP2"
    return "ZeroRedundancyOptimizer" if isinstance(sharding, Replicated) and sharding.divides_states else None


def _adapts_fused(inventory: Inventory, method: Lora) -> bool:
    parts = inventory.parts
    whole = (w for part in parts for w in part.linears if not (method.separates_experts and w.is_stack))
    return any(layer.fused and all(map(method.adapts, layer.fused)) for layer in whole)


def _of_fsdp1(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says why FSDP1 does not take a model's parameters; None if it does."""
    if not isinstance(strategy.sharding, Fsdp1):
        return None
    method = strategy.finetuning
    if isinstance(method, Lora) and _adapts_fused(inventory, method):
        # peft/tuners/lora/layer.py, ParamWrapper: the adapter is folded into the weight
        return "PEFT folds adapters into weights of experts and routers outside of the forward that FSDP1 gathers for"
    return _in_one_dtype(inventory, strategy)


def _in_one_dtype(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says that FSDP1 cannot join a unit's parameters, if they have different dtypes; None if they do not.

    Source: torch/distributed/fsdp/_flat_param.py, `_validate_tensors_to_flatten`.
    """
    method = strategy.finetuning
    quantizes = quantization_of(method) is not Quantization.NONE
    dtypes = Dtypes.of(strategy.precision, method, strategy.sharding)
    own = dtypes.of_trained() if isinstance(method, Full | Freeze) else dtypes
    root, units = (*inventory.stem.tensors, *inventory.head.tensors), [b.tensors for b in inventory.blocks.values()]
    for of_unit, tensors in ((dtypes if isinstance(method, Freeze) else own, root), *((own, u) for u in units)):
        found = {
            of_unit.linear if _is_packed(t, quantizes) else stored_itemsize(t, of_unit, quantizes=quantizes)
            for t in tensors
        }
        if len(found) > 1:
            return "FSDP1 joins parameters of one dtype alone: transformers keeps some of this model's in fp32"
    return None


def _is_packed(tensor: ParameterTensor, quantizes: bool) -> bool:
    return quantizes and tensor.layer is not None and tensor.layer.quantizes and len(tensor.shape) > 1


def _of_deepspeed(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says what of a model is not derived for DeepSpeed; None if everything is."""
    sharding = strategy.sharding
    if not isinstance(sharding, Zero):
        return None
    if inventory.keeps_fp32:
        # deepspeed/runtime/engine.py, `_cast_module_mixed_precision`, casts every parameter
        return "DeepSpeed casts the routers, too, which transformers keeps in fp32: that forward is not derived"
    method, architecture = strategy.finetuning, inventory.architecture
    if (
        sharding.stage == 3
        and isinstance(method, Lora)
        and _adapts_fused(inventory, method)
        and architecture.model_type not in GATHERED_WHOLE
    ):
        return "PEFT's adapters of the experts' parameters are not derived for ZeRO-3, which gathers them apart"
    if sharding.stage == 3 and any(w.written_out for block in inventory.blocks.values() for w in block.linears):
        # backward keeps `weight.T`, on the storage that DeepSpeed lets go of
        return "ZeRO-3 cannot free weights of which the model multiplies a transposed view: that is not derived"
    return None


def _lacks(inventory: Inventory, method: Method) -> str | None:
    """Says what a method needs that only causal models are sure to have; None if nothing is lacking."""
    architecture, modules = inventory.architecture, getattr(method, "trained_modules", TrainedModules.NONE)
    if modules.embeddings and not any(t.is_table for t in inventory.stem.tensors):
        return "the model has no token embeddings"
    if modules.head and architecture.objective == "each_pair":
        return "an embedding model has no head that could be trained as a module"
    if modules.head and architecture.objective == "each_sample":
        return "the model's head is a classifier, not the output embeddings that are trained as a module"
    if architecture.embeds_again is not None and (isinstance(method, Freeze) or modules is not TrainedModules.NONE):
        return "an encoder and a decoder share the embeddings: only all of them or none is modelled"
    return None


# --- what optimizers and precisions need of layers ---


def _of_layers(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says what optimizer, precision or checkpointing need that the model's layers lack; None if nothing is lacking."""
    facts, linear_class = strategy.optimizer.facts, inventory.architecture.linear_class
    if linear_class != "Linear":
        if isinstance(facts, LowRank):
            # transformers/trainer_optimizer.py, `_setup_low_rank_optimizer`
            return f"{strategy.optimizer.choice} takes weights of torch.nn.Linear, and this model has {linear_class}"
        if strategy.precision.facts.linear_dtype == "fp8":
            # torchao/float8/float8_linear_utils.py, `swap_linear_layers`
            return f"fp8-mixed converts torch.nn.Linear, and this model has {linear_class}"
    if _adds_to_kept_products(strategy) and any(
        t.is_bias and t.layer is not None and t.layer.quantizes for b in inventory.blocks.values() for t in b.tensors
    ):
        # gptqmodel/nn_modules/qlinear/torch.py; torch/utils/checkpoint.py, `_VersionWrapper.get_val`
        return (
            f"{strategy.checkpointing.choice} keeps products that GPTQModel's layers then add their bias to, and torch "
            "does not take a kept tensor that has changed"
        )
    if isinstance(facts, Rowwise) and any(len(t.shape) > 2 for b in inventory.blocks.values() for t in b.tensors):
        # adam_mini/adam_mini.py: `stepsize.view(neuron_per_gpu, 1)`, where stepsize has experts x columns numbers
        return "adam-mini does not take stacks of experts"
    return None


def _of_reentrant(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says why a model's blocks cannot run in reentrant checkpoints; None if they can, or do not."""
    if not strategy.checkpointing.choice.facts.reentrant:
        return None
    if inventory.architecture.shares_computed and isinstance(strategy.finetuning, Full | BitFit):
        # torch/utils/checkpoint.py, `CheckpointFunction.backward`: "Trying to backward through the graph a second time"
        return (
            "reentrant checkpointing goes through the graph of what the blocks share once for each block, and torch "
            "frees it the first time"
        )
    if isinstance(strategy.finetuning, Freeze) and not any(t.is_table for t in inventory.stem.tensors):
        # transformers/modeling_utils.py, `_activation_checkpointing_enable`: only embeddings of ids, or with PEFT
        return "reentrant checkpoints train nothing where their input needs no gradient, as that of a frozen stem"
    return None


def _adds_to_kept_products(strategy: Strategy) -> bool:
    """Whether checkpointing keeps matrix products to which GPTQModel's layers then add their bias in place."""
    is_gptq = quantization_of(strategy.finetuning) is Quantization.GPTQ
    return is_gptq and Operation.MM in strategy.checkpointing.choice.facts.keeps


# --- what losses and kernels need of the whole model ---


def _of_model(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says what loss, attention or kernels need that only causal language models have; None if nothing is lacking."""
    if isinstance(inventory.architecture, Decoder):
        return None
    if strategy.loss is not Loss.FULL:
        return f"{strategy.loss} compares each token with the next one, and this model is no causal language model"
    if strategy.attention not in (Attention.EAGER, Attention.SDPA, Attention.SDPA_EFFICIENT):
        return f"{strategy.attention} is known for causal language models alone"
    if strategy.kernels is Kernels.LIGER:
        return "of liger's kernels only those of causal language models are known"
    return None


def _of_kernels(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says which kernel no library has for the model's family; None if there are all that the strategy names."""
    family = inventory.architecture.model_type
    reasons = (unsupported(family, inventory, c) for c in (strategy.attention, strategy.loss, strategy.kernels))
    return next(filter(None, reasons), None)


RULES = (_of_fsdp1, _of_deepspeed, _of_trainable, _of_layers, _of_reentrant, _of_model, _of_kernels)
"""Rules in the order in which they are checked; users see the first reason that is found."""

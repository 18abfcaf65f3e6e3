"""Says why FSDP1 or DeepSpeed does not take the parameters of a model."""

from __future__ import annotations

from planner.libraries.deepspeed import GATHERED_WHOLE
from planner.memory.rules.trainable import adapts_fused
from planner.memory.settings.dtypes import Dtypes
from planner.memory.sharding.state import stored_itemsize
from planner.models import Inventory
from planner.models.reading.parameters import ParameterTensor
from strategies import (
    Freeze,
    Fsdp1,
    Full,
    Lora,
    Quantization,
    Strategy,
    Zero,
    quantization_of,
)


def of_fsdp1(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says why FSDP1 does not take a model's parameters; None if it does."""
    if not isinstance(strategy.sharding, Fsdp1):
        return None
    method = strategy.finetuning
    if isinstance(method, Lora) and adapts_fused(inventory, method):
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


def of_deepspeed(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says what of a model is not derived for DeepSpeed; None if everything is."""
    sharding = strategy.sharding
    if not isinstance(sharding, Zero):
        return None
    method, architecture = strategy.finetuning, inventory.architecture
    if (
        sharding.stage == 3
        and isinstance(method, Lora)
        and adapts_fused(inventory, method)
        and architecture.model_type not in GATHERED_WHOLE
    ):
        # peft/tuners/lora/layer.py, ParamWrapper, reads weights and adapters outside of the forward of their own module
        return (
            "PEFT folds adapters into the experts' weights outside of the modules that ZeRO-3 gathers for: "
            "zero2, or lora_targets of attention alone"
        )
    return None

"""Says what optimizers, precisions and checkpointing need of a model's layers."""

from __future__ import annotations

from planner.models import Inventory
from strategies import (
    BitFit,
    Freeze,
    Full,
    LowRank,
    Operation,
    Quantization,
    Rowwise,
    Strategy,
    quantization_of,
)


def of_layers(inventory: Inventory, strategy: Strategy) -> str | None:
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


def of_reentrant(inventory: Inventory, strategy: Strategy) -> str | None:
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

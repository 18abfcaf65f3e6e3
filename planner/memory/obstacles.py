"""What cannot be done with a model because of what it is made of."""

from __future__ import annotations

from planner.memory import trained
from planner.models import Inventory
from planner.models.decoder import Decoder
from strategies import (
    Attention,
    Kernels,
    Loss,
    LowRank,
    Operation,
    Precision,
    Quantization,
    Rowwise,
    Strategy,
    quantization_of,
)


def obstacle(inventory: Inventory, strategy: Strategy) -> str | None:
    """Why a model cannot be trained so, or None."""
    return trained.obstacle(inventory, strategy) or _of_layers(inventory, strategy) or _of_model(inventory, strategy)


def _of_layers(inventory: Inventory, strategy: Strategy) -> str | None:
    """What optimizer and precision need of its layers."""
    facts, linear_class = strategy.optimizer.facts, inventory.architecture.linear_class
    if linear_class != "Linear":
        if isinstance(facts, LowRank):
            # transformers/trainer_optimizer.py, `_setup_low_rank_optimizer`
            return f"{strategy.optimizer.choice} takes weights of torch.nn.Linear, and this model has {linear_class}"
        if strategy.precision is Precision.FP8_MIXED:
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
        # adam_mini/adam_mini.py: `stepsize.view(neuron_per_gpu, 1)` of what has as many numbers as experts x columns
        return "adam-mini does not take stacks of experts"
    return None


def _adds_to_kept_products(strategy: Strategy) -> bool:
    is_gptq = quantization_of(strategy.finetuning) is Quantization.GPTQ
    return is_gptq and Operation.MM in strategy.checkpointing.choice.facts.keeps


def _of_model(inventory: Inventory, strategy: Strategy) -> str | None:
    """What losses and kernels need of the whole model."""
    if isinstance(inventory.architecture, Decoder):
        return None
    if strategy.loss is not Loss.FULL:
        return f"{strategy.loss} compares each token with the next one, and this model is no causal language model"
    if strategy.attention not in (Attention.EAGER, Attention.SDPA, Attention.SDPA_EFFICIENT):
        return f"{strategy.attention} is known for causal language models alone"
    if strategy.kernels is Kernels.LIGER:
        return "of liger's kernels only those of causal language models are known"
    return None

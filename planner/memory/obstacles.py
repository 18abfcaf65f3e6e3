"""What cannot be done with a model because of what it is made of."""

from __future__ import annotations

from planner.memory import trained
from planner.models import Inventory
from strategies import LowRank, Precision, Rowwise, Strategy


def obstacle(inventory: Inventory, strategy: Strategy) -> str | None:
    """Why a model cannot be trained so, or None."""
    return trained.obstacle(inventory, strategy) or _of_layers(inventory, strategy)


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
    if isinstance(facts, Rowwise) and any(len(t.shape) > 2 for b in inventory.blocks.values() for t in b.tensors):
        # adam_mini/adam_mini.py: `stepsize.view(neuron_per_gpu, 1)` of what has as many numbers as experts x columns
        return "adam-mini does not take stacks of experts"
    return None

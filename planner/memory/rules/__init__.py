"""Says which strategies a model cannot be trained with because of what it consists of, and why.

`strategies/rules/` has the rules that hold for every model; `planner/models/support.py` says which kernels libraries
have for a model.
"""

from __future__ import annotations

from planner.memory.accounts import ACCOUNTS
from planner.memory.rules.layers import of_layers, of_reentrant
from planner.memory.rules.sharding import of_deepspeed, of_fsdp1
from planner.memory.rules.trainable import of_trainable
from planner.memory.rules.whole import of_kernels, of_model
from planner.models import Inventory
from strategies import Attention, Batching, Kernels, Outputs, Replicated, Strategy, Update

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


RULES = (of_fsdp1, of_deepspeed, of_trainable, of_layers, of_reentrant, of_model, of_kernels)
"""Rules in the order in which they are checked; users see the first reason that is found."""

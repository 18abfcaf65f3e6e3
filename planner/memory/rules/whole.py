"""Says what losses and kernels need of a whole model."""

from __future__ import annotations

from planner.models import Inventory
from planner.models.decoder import Decoder
from planner.models.support import unsupported
from strategies import (
    Attention,
    Kernels,
    Loss,
    Strategy,
)


def of_model(inventory: Inventory, strategy: Strategy) -> str | None:
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


def of_kernels(inventory: Inventory, strategy: Strategy) -> str | None:
    """Says which kernel no library has for the model's family; None if there are all that the strategy names."""
    family = inventory.architecture.model_type
    reasons = (unsupported(family, inventory, c) for c in (strategy.attention, strategy.loss, strategy.kernels))
    return next(filter(None, reasons), None)

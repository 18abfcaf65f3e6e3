"""Checkpoints a model's blocks: what forward drops and backward computes again."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

ATEN = torch.ops.aten
PRODUCTS = {ATEN.mm.default: "mm", ATEN.addmm.default: "addmm"}
FUSED = (
    ATEN._scaled_dot_product_flash_attention.default,
    ATEN._scaled_dot_product_efficient_attention.default,
    ATEN._scaled_dot_product_flash_attention_for_cpu.default,
)
KEPT = {
    "selective-matmuls": {"mm": 1, "addmm": 1, "attention": 1},
    "selective-every-second-matmul": {"mm": 2, "attention": 1},
}
"""Of which operators one of how many results is kept."""


@dataclass
class Checkpointed:
    """What train.yaml says of checkpoints."""

    checkpointing: str = "none"  # "full", "full-reentrant", "offload", and those of KEPT
    checkpoint_every: int = 1


class Policy:
    """Keeps the results of some operators of a block."""

    def __init__(self, kept: dict[str, int]) -> None:
        self.kept, self.seen = kept, Counter()

    def __call__(self, context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        """Says whether the result of an operator is kept."""
        kind = "attention" if operator in FUSED else PRODUCTS.get(operator)
        if kind not in self.kept:
            return CheckpointPolicy.PREFER_RECOMPUTE
        self.seen[kind] += 1
        keeps = (self.seen[kind] - 1) % self.kept[kind] == 0
        return CheckpointPolicy.MUST_SAVE if keeps else CheckpointPolicy.PREFER_RECOMPUTE


def contexts(kept: dict[str, int]) -> Any:
    """Returns the contexts of a block's forward and of its recomputation."""
    return create_selective_checkpoint_contexts(Policy(kept))


def checkpoint_blocks(model: Any, said: Checkpointed) -> None:
    """Checkpoints every block, or one of every few."""
    if said.checkpointing == "none":
        return
    how: dict[str, Any] = {"use_reentrant": said.checkpointing == "full-reentrant"}
    if said.checkpointing in KEPT:
        how["context_fn"] = partial(contexts, KEPT[said.checkpointing])
    model.activation_checkpointing_enable(
        activation_checkpointing_kwargs=how,
        every_n_layers=said.checkpoint_every,
        offload=said.checkpointing == "offload",
    )

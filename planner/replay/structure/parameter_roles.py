"""What a trained parameter is to an optimizer that treats some of them differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from planner.replay.structure.stacks import stacks


class Role(NamedTuple):
    is_embedding: bool
    is_hidden: bool
    """A matrix in a block."""
    is_linear: bool
    """The weight of a `torch.nn.Linear` in a block, and no adapter."""


class TrainedParameter(NamedTuple):
    name: str
    parameter: torch.nn.Parameter
    role: Role


def trained_parameters(model: Any) -> Iterator[TrainedParameter]:
    """Every parameter that trains, once."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    blocks = [block for _, found in stacks(model) for block in found]
    hidden = {id(p) for block in blocks for p in block.parameters() if p.dim() == 2}
    linear = {
        id(m.weight)
        for block in blocks
        for path, m in block.named_modules()
        if isinstance(m, torch.nn.Linear) and "lora_" not in path
    }
    for name, p in model.named_parameters():
        if p.requires_grad:
            yield TrainedParameter(name, p, Role(id(p) in embeddings, id(p) in hidden, id(p) in linear))

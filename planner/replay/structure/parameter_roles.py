"""Classifies trained parameters for optimizers that treat some of them differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from planner.replay.structure.stacks import stacks


class Role(NamedTuple):
    """The kinds that a parameter belongs to."""

    is_embedding: bool
    """Whether it is the weight of a `torch.nn.Embedding`, tied to a head or not."""
    is_hidden: bool
    """Whether it is a matrix in a block."""
    is_linear: bool
    """Whether it is the weight of a `torch.nn.Linear` in a block, adapters excluded."""


class TrainedParameter(NamedTuple):
    """A parameter that requires gradients."""

    name: str
    """Its path in the model."""
    parameter: torch.nn.Parameter
    role: Role


def trained_parameters(model: Any) -> Iterator[TrainedParameter]:
    """Yields every parameter that requires gradients; a shared one comes once, under its first name."""
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

"""Activation checkpointing as Trainer turns it on."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from planner.replay.blocks import stacks
from strategies import Checkpoints


def choose_blocks(model: Any, checkpoints: Checkpoints) -> None:
    """Marks each block of the whole model: a shortened one has others of its numbers."""
    for number, block in enumerate(_blocks(model)):
        block.is_checkpointed = checkpoints.cover(number)


def checkpoint_blocks(model: Any, *, adapted: bool) -> None:
    """The blocks that are marked; in a module of the user's own, those of its lists."""
    if not hasattr(model, "gradient_checkpointing_enable"):
        for block in _blocks(model):
            if block.is_checkpointed:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for block in _blocks(model):
        if isinstance(block, GradientCheckpointingLayer):
            block.gradient_checkpointing = bool(block.is_checkpointed)
    if adapted:
        model.enable_input_require_grads()


def _blocks(model: torch.nn.Module) -> list[Any]:
    """Those that transformers counts (`_set_gradient_checkpointing`), else those of the model's lists."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    return layers or [block for _, blocks in stacks(model) for block in blocks]

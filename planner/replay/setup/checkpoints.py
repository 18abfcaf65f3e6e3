"""Turns on activation checkpointing as Trainer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers import modeling_utils
from transformers.modeling_layers import GradientCheckpointingLayer

from planner.replay.structure.stacks import stacks
from strategies import Checkpoints, Operation

_ATEN = torch.ops.aten
OPERATIONS: Mapping[Any, Operation] = {
    _ATEN.mm.default: Operation.MM,
    _ATEN.addmm.default: Operation.ADDMM,
    _ATEN.bmm.default: Operation.BMM,
    _ATEN._scaled_dot_product_flash_attention.default: Operation.SDPA,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default: Operation.SDPA,
    _ATEN._scaled_dot_product_efficient_attention.default: Operation.SDPA,
}
"""Kind of each operator whose results a selective policy can keep."""


def choose_blocks(model: Any, checkpoints: Checkpoints) -> None:
    """Marks the blocks that are checkpointed.

    The model has all its blocks: which are checkpointed depends on their numbers, which change when it is shortened.
    """
    for number, block in enumerate(_blocks(model)):
        block.is_checkpointed = checkpoints.cover(number)


def checkpoint_blocks(model: Any, checkpoints: Checkpoints, *, adapted: bool) -> None:
    """Checkpoints the marked blocks; in a module of the user's own, those in its lists of blocks.

    Args:
        model: A model of transformers, PEFT's wrapper around one, or a module of the user's own.
        checkpoints: What is recomputed, kept and offloaded.
        adapted: Whether the model has adapters, for which the embedding's output must require gradients.
    """
    facts = checkpoints.choice.facts
    options: dict[str, Any] = {"use_reentrant": facts.reentrant}
    if facts.keeps:
        options["context_fn"] = partial(_contexts, facts.keeps)
    if not hasattr(model, "gradient_checkpointing_enable"):
        for block in _blocks(model):
            if block.is_checkpointed:
                function = _offloaded if facts.offloads else checkpoint
                block.forward = partial(function, block.forward, **options)
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options, offload=facts.offloads)
    for block in _blocks(model):
        if isinstance(block, GradientCheckpointingLayer):
            block.gradient_checkpointing = bool(block.is_checkpointed)
    if adapted:
        model.enable_input_require_grads()


def checkpoint_calls(units: Iterable[tuple[Any, Any]]) -> None:
    """Moves reentrant checkpoints from blocks to the units of FSDP1 around them, whose hooks then run within.

    Source: transformers up to 4.51, modeling_llama.py, `_gradient_checkpointing_func(decoder_layer.__call__, ...)`.

    Args:
        units: Each unit with the module that it wraps.
    """
    for unit, block in units:
        if getattr(block, "gradient_checkpointing", False):
            block.gradient_checkpointing = False
            unit.forward = partial(_reentrant, unit.forward)


def _reentrant(forward: Any, *args: Any, **options: Any) -> Any:
    """Checkpoints a forward; what is given by name is not saved as an input."""
    return checkpoint(partial(forward, **options), *args, use_reentrant=True)


def _offloaded(function: Any, *args: Any, **options: Any) -> Any:
    """Checkpoints with inputs saved on the host, as transformers does (`_activation_checkpointing_enable`)."""
    owner: Any = modeling_utils  # it is replaced in a replay
    with owner.save_on_cpu(pin_memory=True):
        return checkpoint(function, *args, **options)


def _contexts(keeps: Mapping[Operation, int]) -> tuple[Any, Any]:
    """Makes the contexts of one block's forward and of its recomputation."""
    return create_selective_checkpoint_contexts(_Policy(keeps))  # type: ignore[no-any-return]  # it is untyped


class _Policy:
    """Decides which results a block's forward keeps.

    It counts the operators of each kind, and keeps the result of the first of every `keeps[kind]`.
    """

    def __init__(self, keeps: Mapping[Operation, int]) -> None:
        self.keeps = keeps
        self._numbers: Counter[Operation] = Counter()

    def __call__(self, context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        operation = OPERATIONS.get(operator)
        if operation is None or operation not in self.keeps:
            return CheckpointPolicy.PREFER_RECOMPUTE
        number = self._numbers[operation]
        self._numbers[operation] += 1
        return CheckpointPolicy.PREFER_RECOMPUTE if number % self.keeps[operation] else CheckpointPolicy.MUST_SAVE


def _blocks(model: torch.nn.Module) -> list[Any]:
    """Returns the blocks that transformers can checkpoint (`_set_gradient_checkpointing`).

    If there are none, it returns the blocks in the model's lists.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    return layers or [block for _, blocks in stacks(model) for block in blocks]

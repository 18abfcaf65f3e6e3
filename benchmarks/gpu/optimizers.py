"""Makes the real optimizers of libraries for which the planner has stand-ins."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from planner.replay.structure.parameter_roles import TrainedParameter
from strategies import Optimizer


def _bitsandbytes(name: str, trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    """Makes an optimizer with 32-bit states for embeddings, as Trainer does (transformers/trainer_optimizer.py)."""
    from bitsandbytes import optim

    manager = optim.GlobalOptimManager.get_instance()
    for embedding in (t.parameter for t in trained if t.role.is_embedding):
        manager.override_config(embedding, "optim_bits", 32)
    optimizer: torch.optim.Optimizer = getattr(optim, name)([t.parameter for t in trained], lr=1e-4)
    return optimizer


def _torchao(name: str, trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    from torchao import optim

    optimizer: torch.optim.Optimizer = getattr(optim, name)([t.parameter for t in trained], lr=1e-4)
    return optimizer


def _offloaded(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    from torchao.optim import CPUOffloadOptimizer

    optimizer: torch.optim.Optimizer = CPUOffloadOptimizer(
        [t.parameter for t in trained], torch.optim.AdamW, lr=1e-4, fused=True
    )
    return optimizer


REAL_OPTIMIZERS = {
    Optimizer.ADAMW_8BIT: partial(_bitsandbytes, "AdamW8bit"),
    Optimizer.PAGED_ADAMW_8BIT: partial(_bitsandbytes, "PagedAdamW8bit"),
    Optimizer.PAGED_ADAMW_32BIT: partial(_bitsandbytes, "PagedAdamW32bit"),
    Optimizer.LION: partial(_bitsandbytes, "Lion"),
    Optimizer.LION_8BIT: partial(_bitsandbytes, "Lion8bit"),
    Optimizer.ADAMW_8BIT_TORCHAO: partial(_torchao, "AdamW8bit"),
    Optimizer.ADAMW_4BIT: partial(_torchao, "AdamW4bit"),
    Optimizer.ADAMW_OFFLOAD: _offloaded,
}
"""Builders of the real optimizers for which the planner's own builder makes a stand-in."""

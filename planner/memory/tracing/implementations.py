"""Lists what computes the choices of kernels and of losses on logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tensor
from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.losses.loss import LOSSES
from planner.models.architecture import Objective
from strategies import Kernels, Loss

LAYERS: dict[Kernels, type[Layers]] = {Kernels.EAGER: Layers, Kernels.LIGER: LigerLayers, Kernels.COMPILE: Layers}


def _compiled(*given: Any, **options: Any) -> Layers:
    from planner.memory.layers.compiled import CompiledLayers

    return CompiledLayers(*given, **options)


WITHIN_BLOCKS: Mapping[Kernels, Callable[..., Layers]] = LAYERS | {Kernels.COMPILE: _compiled}
"""Layers within blocks, by kernels; only blocks are compiled."""


class Implementations(NamedTuple):
    """Says what computes the choices of kernels and of losses on logits: the libraries of today unless told otherwise.

    Attributes:
        layers: The class of the layers outside of blocks, by kernels.
        within_blocks: What makes the layers within blocks, by kernels.
        losses: The losses that are computed from logits.
    """

    layers: Mapping[Kernels, type[Layers]] = LAYERS
    within_blocks: Mapping[Kernels, Callable[..., Layers]] = WITHIN_BLOCKS
    losses: Mapping[Loss, Callable[[Ops, Tensor, Objective], Tensor]] = LOSSES


TODAY = Implementations()

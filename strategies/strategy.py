"""One choice per axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from strategies import (
    allocator,
    attention,
    checkpointing,
    finetuning,
    framework,
    kernels,
    loss,
    optimizer,
    precision,
    sharding,
    update,
)
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.axis import Axis, Option, Values
from strategies.checkpointing import Checkpoints
from strategies.finetuning import Full, Method
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import AnyOptimizer, Optimizer
from strategies.precision import Precision
from strategies.sharding import DataParallel, Replicated
from strategies.update import Update

AXES: Mapping[str, Axis] = {
    module.AXIS.name: module.AXIS
    for module in (
        precision,
        optimizer,
        finetuning,
        checkpointing,
        sharding,
        attention,
        loss,
        kernels,
        framework,
        allocator,
        update,
    )
}
"""Every axis, in the order of a strategy's fields."""

OPTIONS: Mapping[str, Option] = {option.name: option for axis in AXES.values() for option in axis.options}
"""Everything that can be said of a strategy, flat."""


class Strategy(NamedTuple):
    """One choice per axis. Micro-batch and accumulation are not among them: the search solves for those."""

    precision: Precision
    optimizer: AnyOptimizer
    finetuning: Method
    checkpointing: Checkpoints
    sharding: DataParallel
    attention: Attention
    loss: Loss
    kernels: Kernels
    framework: Framework
    allocator: Allocator
    update: Update

    @classmethod
    def of(cls, values: Values) -> Strategy:
        """The strategy that options make: the inverse of `to_options`."""
        return cls(*(axis.value(values) for axis in AXES.values()))

    def to_options(self) -> dict[str, Any]:
        """Its options, those that belong to its choices."""
        return {
            name: value
            for axis, chosen in zip(AXES.values(), self, strict=True)
            for name, value in axis.to_options(chosen).items()
        }


PLAIN = Strategy(
    Precision.FP32,
    Optimizer.SGD,
    Full(),
    Checkpoints(),
    Replicated(),
    Attention.SDPA,
    Loss.FULL,
    Kernels.EAGER,
    Framework.TRANSFORMERS,
    Allocator.NATIVE,
    Update.AFTER_BACKWARD,
)
"""The least of every axis; others are made of it with `_replace`."""

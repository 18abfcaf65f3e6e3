"""Defines a strategy: one choice per axis."""

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
from strategies.finetuning.methods import Full, Method, quantization_of
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import AnyOptimizer, Optimizer
from strategies.precision import Precision
from strategies.sharding import DataParallel, Fsdp1, FullySharded, Replicated
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
"""Every option of every axis, by its name."""


class Strategy(NamedTuple):
    """Holds one choice per axis.

    Micro-batch and accumulation are not among them: the search solves for those.
    """

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
    def of(cls, values: Values) -> "Strategy":
        """Returns the strategy that options make; the inverse of `to_options`."""
        return cls(*(axis.value(values) for axis in AXES.values()))

    @property
    def optimizer_in_backward(self) -> AnyOptimizer | None:
        """The optimizer that steps each parameter in backward; None if it steps after backward."""
        return self.optimizer if self.update is Update.IN_BACKWARD else None

    def to_options(self) -> dict[str, Any]:
        """Returns the value of every option that applies to the strategy's choices, by the option's name."""
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
"""Strategy with the plainest choice of every axis, from which others can be made with `_replace`."""


def raises_trained(precision: Precision, method: Method, sharding: DataParallel) -> bool:
    """Returns whether accelerate raises all parameters that train to fp32, as it does under FSDP in mixed precision.

    Over a base in 4 bits FSDP1 does so as well, FSDP2 does not. Sources: accelerate/accelerator.py, `prepare_model`,
    for flat parameters of FSDP1; accelerate/utils/fsdp_utils.py, `fsdp2_prepare_model` (`model_has_params4bit`).
    """
    if not isinstance(sharding, FullySharded) or precision.facts.autocast_bytes is None:
        return False
    return isinstance(sharding, Fsdp1) or not quantization_of(method).shards

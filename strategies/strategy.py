"""One choice per axis, and which combinations are valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hardware import Cluster
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
from strategies.sharding import DataParallel, Replicated, Sharded
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
        """The strategy that options make: the inverse of `said`."""
        return cls(*(axis.value(values) for axis in AXES.values()))

    def said(self) -> dict[str, Any]:
        """Its options, those that belong to its choices."""
        return {
            name: value
            for axis, chosen in zip(AXES.values(), self, strict=True)
            for name, value in axis.said(chosen).items()
        }

    @property
    def uses_triton(self) -> bool:
        liger = self.kernels is not Kernels.EAGER or self.loss in (Loss.LIGER_FUSED_LINEAR, Loss.LIGER_CROSS_ENTROPY)
        return liger or self.attention is Attention.FLEX

    def obstacle(self, cluster: Cluster) -> str | None:
        """Why this combination cannot run on that cluster, or None."""
        gpu = cluster.gpu
        if missing := self.precision.missing_on(gpu):
            return f"{gpu.name} has no {missing}"
        if lacking := self.attention.missing_on(gpu, self.precision):
            return lacking
        if self.uses_triton and not gpu.supports_triton:
            return f"{gpu.name} has no Triton, which liger-kernel, flex_attention and torch.compile need"
        if lacking := kernels.obstacle(self, cluster):
            return lacking
        if self.sharding.shards and cluster.world_size == 1:
            return "one GPU has nothing to shard over"
        if self.sharding.divides_states and cluster.world_size == 1:
            return "one GPU has nobody to divide its optimizer's states with"
        if isinstance(self.sharding, Sharded) and (impossible := self.sharding.contradiction(cluster.world_size)):
            return impossible
        if reason := finetuning.obstacle(self.finetuning, self.precision, self.sharding.shards, gpu):
            return reason
        if not self.allocator.runs_on(gpu):
            return f"{gpu.name} has no expandable segments"
        return precision.obstacle(self) or optimizer.obstacle(self, cluster) or update.obstacle(self, cluster)


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

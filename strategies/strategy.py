"""One choice per axis, and which combinations are valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        return self.sharding.obstacle(cluster.world_size) or self.exclusion(cluster)

    def exclusion(self, cluster: Cluster) -> str | None:
        """Why its choices exclude each other on a cluster that its sharding can divide, or None: the first of RULES."""
        for rule in RULES:
            if reason := rule(self, cluster):
                return reason
        return None


# --- what cannot run, with what no file of an axis can say ---


def _precision(s: Strategy, cluster: Cluster) -> str | None:
    missing = s.precision.missing_on(cluster.gpu)
    return f"{cluster.gpu.name} has no {missing}" if missing else None


def _attention(s: Strategy, cluster: Cluster) -> str | None:
    return s.attention.missing_on(cluster.gpu, s.precision)


def _triton(s: Strategy, cluster: Cluster) -> str | None:
    if cluster.gpu.supports_triton or not s.uses_triton:
        return None
    return f"{cluster.gpu.name} has no Triton, which liger-kernel, flex_attention and torch.compile need"


def _allocator(s: Strategy, cluster: Cluster) -> str | None:
    return None if s.allocator.runs_on(cluster.gpu) else f"{cluster.gpu.name} has no expandable segments"


Rule = Callable[[Strategy, Cluster], str | None]

RULES: tuple[Rule, ...] = (
    _precision,
    _attention,
    _triton,
    kernels.obstacle,
    finetuning.obstacle,
    _allocator,
    precision.obstacle,
    optimizer.obstacle,
    update.obstacle,
)
"""Why a strategy cannot run, in the order in which it is told. `strategies.counting` asks each rule alone too, of
strategies of which not all is decided, and sees which options it reads: a rule relies on none before it, and takes what
it needs of a strategy by the names of fields."""

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

"""What DistributedDataParallel adds to a step: buckets, and where finished gradients go.

Its reducer is C++ and works on the data of real tensors: this is a stand-in that allocates and frees as it does
(torch/csrc/distributed/c10d/reducer.cpp). The cap on a bucket's size changes nothing in the sum of all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch.distributed.optim import ZeroRedundancyOptimizer

from planner.replay.recording.trace import Scope
from planner.replay.setup.optimizers import Several
from planner.replay.structure.parameter_roles import TrainedParameter
from strategies import GradientBuckets, Replicated, Strategy


def divided(
    make: Callable[[list[TrainedParameter]], torch.optim.Optimizer], trained: list[TrainedParameter]
) -> torch.optim.Optimizer:
    """An optimizer that keeps states of this rank's parameters only. ZeroRedundancyOptimizer wants as many groups of
    parameters as it gave."""
    by_parameter = {id(t.parameter): t for t in trained}

    def of_this_rank(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        made = make([by_parameter[id(parameter)] for group in groups for parameter in group["params"]])
        return made if len(made.param_groups) == len(groups) else Several([made])

    optimizer: Any = ZeroRedundancyOptimizer  # its annotation asks for a class
    divided: torch.optim.Optimizer = optimizer([t.parameter for t in trained], of_this_rank)
    return divided


class Followed(Protocol):
    """What follows a step and has to know where it is."""

    scope: Scope | None


def buckets_of(strategy: Strategy, world_size: int) -> GradientBuckets | None:
    sharding = strategy.sharding
    return sharding.gradient_buckets if isinstance(sharding, Replicated) and world_size > 1 else None


class Buckets:
    """Every trained parameter's part of a bucket."""

    def __init__(self, kind: GradientBuckets | None, live: Followed) -> None:
        self.kind, self.live = kind, live
        self.reduces = False
        """The micro-batch that runs is the last of its step; the others run under `no_sync`."""
        self.parts: dict[torch.Tensor, torch.Tensor] = {}

    def add(self, parameter: torch.nn.Parameter, home: Scope | None) -> torch.Tensor:
        self.live.scope = home
        part = self.parts[parameter] = torch.empty_like(parameter, requires_grad=False)
        if self.kind is GradientBuckets.VIEWS:
            parameter.register_post_accumulate_grad_hook(partial(self._finished, home))
        return part

    def _finished(self, home: Scope | None, parameter: torch.Tensor) -> None:
        """A gradient is copied to its part of a bucket, which it is from here on (`mark_variable_ready_dense`)."""
        if self.reduces:
            here, self.live.scope = self.live.scope, home or self.live.scope
            parameter.grad = self.parts[parameter]
            self.live.scope = here

    def hold(self, gradient: torch.Tensor | None) -> bool:
        return any(gradient is part for part in self.parts.values())

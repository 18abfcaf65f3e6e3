"""Adds to a step what DistributedDataParallel does: it allocates buckets, and moves finished gradients to them.

DDP's reducer is C++ and works on the data of real tensors: this is a stand-in that allocates and frees as it does
(torch/csrc/distributed/c10d/reducer.cpp). The limit of a bucket's size is left out, as it does not change the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.distributed.optim import ZeroRedundancyOptimizer

from planner.replay.engines.engine import Engine, Labelling, Make, Named, pretended
from planner.replay.recording.trace import Scope
from planner.replay.setup.optimizers import Several
from planner.replay.structure.parameter_roles import TrainedParameter
from strategies import GradientBuckets, Replicated, Strategy


def divided(make: Make, trained: list[TrainedParameter]) -> torch.optim.Optimizer:
    """Builds an optimizer that keeps the states of this rank's parameters only, with ZeroRedundancyOptimizer.

    Args:
        make: Builds an optimizer for some parameters. ZeroRedundancyOptimizer expects as many parameter groups as it
            passes: an optimizer with another number is wrapped in `Several`, which has one group.
        trained: The trained parameters of the model.
    """
    by_parameter = {id(t.parameter): t for t in trained}

    def of_this_rank(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        made = make([by_parameter[id(parameter)] for group in groups for parameter in group["params"]])
        return made if len(made.param_groups) == len(groups) else Several([made])

    optimizer: Any = ZeroRedundancyOptimizer  # its annotation asks for a class
    divided: torch.optim.Optimizer = optimizer([t.parameter for t in trained], of_this_rank)
    return divided


def buckets_of(strategy: Strategy, world_size: int) -> GradientBuckets | None:
    """Returns the kind of DDP's buckets; None where gradients are not reduced by DDP."""
    sharding = strategy.sharding
    return sharding.gradient_buckets if isinstance(sharding, Replicated) and world_size > 1 else None


class ReplicatedEngine(Engine):
    """Runs a step under DDP, or on one rank; with `zero1` under ZeroRedundancyOptimizer."""

    def __init__(self, strategy: Strategy, world_size: int) -> None:
        super().__init__(strategy, world_size)
        self.kind = buckets_of(strategy, world_size)
        self.extra_micro_batches = int(self.kind is GradientBuckets.VIEWS)
        self.replays_all_blocks = self.sharding.divides_states
        self.buckets: Buckets | None = None

    def pretended(self) -> AbstractContextManager[None]:
        """Joins a process group whose collectives do nothing, which ZeroRedundancyOptimizer asks for its ranks."""
        return pretended(self.world_size) if self.sharding.divides_states else nullcontext()

    def watch(self, trained: Named, live: Labelling) -> None:
        """Allocates DDP's buckets, where there are any."""
        if self.kind is None:
            return
        self.buckets = Buckets(self.kind, live)
        for name, parameter, scope in trained:
            part = self.buckets.add(parameter, scope)
            live.label("communication", [(f"{name} in DDP's bucket", part, scope)])
        live.scope = None

    def optimizer(self, make: Make, trained: list[TrainedParameter]) -> torch.optim.Optimizer:
        """Returns an optimizer of this rank's parameters under `zero1`, else of all."""
        return divided(make, trained) if self.sharding.divides_states else make(trained)

    @contextmanager
    def micro_batch(self, model: Any, *, last: bool) -> Iterator[None]:
        """Lets DDP reduce gradients in the last micro-batch alone; the others run under `no_sync`."""
        if self.buckets is not None:
            self.buckets.reduces = last
        yield

    def holds(self, gradient: torch.Tensor | None) -> bool:
        """Returns whether a gradient is part of a bucket."""
        return self.buckets is not None and self.buckets.hold(gradient)


class Buckets:
    """DDP's buckets: a part for every trained parameter.

    Args:
        kind: Whether gradients are copied to the buckets or become views of them.
        live: The recorder of the step.
    """

    def __init__(self, kind: GradientBuckets, live: Labelling) -> None:
        self.kind, self.live = kind, live
        self.reduces = False
        """Whether the running micro-batch is the last of its step; the others run under `no_sync`."""
        self.parts: dict[torch.Tensor, torch.Tensor] = {}

    def add(self, parameter: torch.nn.Parameter, home: Scope | None) -> torch.Tensor:
        """Allocates a parameter's part of a bucket, at the parameter's block `home`, and returns it."""
        self.live.scope = home
        part = self.parts[parameter] = torch.empty_like(parameter, requires_grad=False)
        if self.kind is GradientBuckets.VIEWS:
            parameter.register_post_accumulate_grad_hook(partial(self._finished, home))
        return part

    def _finished(self, home: Scope | None, parameter: torch.Tensor) -> None:
        """Replaces a finished gradient by its part of a bucket (`mark_variable_ready_dense`).

        DDP copies the gradient there first, which allocates nothing.
        """
        if self.reduces:
            here, self.live.scope = self.live.scope, home or self.live.scope
            parameter.grad = self.parts[parameter]
            self.live.scope = here

    def hold(self, gradient: torch.Tensor | None) -> bool:
        """Returns whether a gradient is part of a bucket."""
        return any(gradient is part for part in self.parts.values())

"""Says which choices cannot run together or on a cluster, and why: all rules that need no model, a subject a file.

Rules about what a model is made of are in `planner/memory/rules/`.
"""

from __future__ import annotations

from collections.abc import Callable

from hardware import Cluster
from strategies.rules.compiled import compilation
from strategies.rules.deepspeed import deepspeed
from strategies.rules.finetuning import adapters, precision, quantized_base
from strategies.rules.fsdp1 import fsdp1
from strategies.rules.fsdp2 import fsdp2
from strategies.rules.gpus import (
    allocator_on_gpu,
    allocator_runs_on,
    attention_on_gpu,
    dtype_on_gpu,
    triton_on_gpu,
    usual_allocator,
)
from strategies.rules.optimizers import optimizer, update
from strategies.sharding import indivisible
from strategies.strategy import Strategy

__all__ = ["RULES", "Rule", "allocator_runs_on", "exclusion", "usual_allocator", "violation"]

Rule = Callable[[Strategy, Cluster], str | None]
"""Returns why a strategy cannot run on a cluster, or None."""


def violation(strategy: Strategy, cluster: Cluster) -> str | None:
    """Returns why a strategy cannot run on a cluster, or None."""
    return indivisible(strategy.sharding, cluster.world_size) or exclusion(strategy, cluster)


def exclusion(strategy: Strategy, cluster: Cluster) -> str | None:
    """Returns the first reason in `RULES` why a strategy cannot run, or None; `indivisible` is not asked."""
    return next((reason for rule in RULES if (reason := rule(strategy, cluster))), None)


RULES: tuple[Rule, ...] = (
    dtype_on_gpu,
    attention_on_gpu,
    triton_on_gpu,
    fsdp2,
    fsdp1,
    deepspeed,
    compilation,
    quantized_base,
    adapters,
    allocator_on_gpu,
    precision,
    optimizer,
    update,
)
"""All rules but `indivisible`; the first that objects gives the reason that users see.

`strategies.spaces.counting` also calls each rule alone, on strategies with undecided options, to see which options it
reads. So a rule must not rely on the rules before it, and must read a strategy through the names of its fields."""

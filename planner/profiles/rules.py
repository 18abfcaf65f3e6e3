"""Says which strategies no profile tells about."""

from __future__ import annotations

from planner.memory.accounts import ACCOUNTS
from planner.profiles.model import ProfiledModel
from strategies import GradientBuckets, Replicated, Sharding, ShardingBackend, Strategy, Update


def exclusion(model: ProfiledModel, strategy: Strategy) -> str | None:
    """Returns why no profile of a model tells what a strategy takes, or None."""
    if reason := ACCOUNTS.lacking(strategy):
        return reason
    kernels = (strategy.attention, strategy.loss, strategy.kernels)
    if reason := next(filter(None, map(model.unsupported, kernels)), None):
        return reason
    if isinstance(strategy.sharding, Replicated) and strategy.sharding.gradient_buckets is GradientBuckets.VIEWS:
        return "a profile is of one rank, which has no buckets for its gradients to be views of"
    if strategy.sharding.backend is ShardingBackend.DEEPSPEED:
        return "a profile does not tell when each gradient is complete, as DeepSpeed's buckets ask"
    if strategy.sharding.choice is Sharding.ZERO1:
        return "a profile does not tell which rank has which states"
    if strategy.sharding.on_host:
        return "a profile is of a step that does nothing on the host"
    if strategy.update is Update.IN_BACKWARD:
        return "profiles of a model's own code are of updates after backward"
    return None

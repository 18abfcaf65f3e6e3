"""Computes what optimizers keep for each trained tensor, and what their step allocates at its peak."""

from planner.memory.sharding.optimizers.registry import RULES, rule_of
from planner.memory.sharding.optimizers.rule import Groups, OptimizerRule

__all__ = ["RULES", "Groups", "OptimizerRule", "rule_of"]

"""Maps each kind of optimizer facts to the rule that says what such an optimizer keeps and allocates."""

from __future__ import annotations

from typing import Any

from planner.memory.sharding.optimizers.blockwise import BlockwiseStates
from planner.memory.sharding.optimizers.factored import FactoredStates
from planner.memory.sharding.optimizers.low_rank import LowRankStates
from planner.memory.sharding.optimizers.offloaded import OffloadedStates
from planner.memory.sharding.optimizers.orthogonalized import OrthogonalizedStates
from planner.memory.sharding.optimizers.packed import PackedStates
from planner.memory.sharding.optimizers.rowwise import RowwiseStates
from planner.memory.sharding.optimizers.rule import OptimizerRule
from planner.memory.sharding.optimizers.whole import WholeStates
from strategies import (
    AnyOptimizer,
    Blockwise,
    Factored,
    LowRank,
    Offloaded,
    Orthogonalized,
    Packed,
    Rowwise,
    Whole,
)

RULES: dict[type, type[OptimizerRule[Any]]] = {
    Whole: WholeStates,
    Blockwise: BlockwiseStates,
    Packed: PackedStates,
    Factored: FactoredStates,
    Offloaded: OffloadedStates,
    Orthogonalized: OrthogonalizedStates,
    LowRank: LowRankStates,
    Rowwise: RowwiseStates,
}
"""Rules by the kind of an optimizer's facts. A plug-in with a kind of its own adds its rule here."""


def rule_of(optimizer: AnyOptimizer) -> OptimizerRule[Any]:
    """Returns the rule for an optimizer."""
    return RULES[type(optimizer.facts)](optimizer.facts)

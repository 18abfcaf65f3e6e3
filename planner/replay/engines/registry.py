"""Lists the engine of each class of the sharding axis's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.replay.engines.ddp import ReplicatedEngine
from planner.replay.engines.deepspeed import DeepSpeedEngine
from planner.replay.engines.engine import Engine
from planner.replay.engines.fsdp2 import Fsdp2Engine
from strategies import ContradictionError, Fsdp2, Replicated, Strategy, Zero

ENGINES: Mapping[type[Any], type[Engine]] = {Replicated: ReplicatedEngine, Fsdp2: Fsdp2Engine, Zero: DeepSpeedEngine}


def engine_of(strategy: Strategy, world_size: int) -> Engine:
    """Returns the engine that runs a strategy on a number of ranks.

    Raises:
        ContradictionError: No engine runs the strategy's sharding.
    """
    sharding = strategy.sharding
    if (kind := ENGINES.get(type(sharding))) is None:
        raise ContradictionError(
            f"this configuration cannot be replayed: the replay has no engine of sharding {sharding.choice} by "
            f"{sharding.backend}",
            "estimate needs no replay",
        )
    return kind(strategy, world_size)

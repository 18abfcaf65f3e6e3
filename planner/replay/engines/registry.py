"""Lists the engine of each class of the sharding axis's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.replay.engines.ddp import ReplicatedEngine
from planner.replay.engines.engine import Engine
from planner.replay.engines.fsdp1 import Fsdp1Engine
from planner.replay.engines.fsdp2 import Fsdp2Engine
from strategies import Fsdp1, Fsdp2, Replicated, Strategy

ENGINES: Mapping[type[Any], type[Engine]] = {
    Replicated: ReplicatedEngine,
    Fsdp1: Fsdp1Engine,
    Fsdp2: Fsdp2Engine,
}


def engine_of(strategy: Strategy, world_size: int) -> Engine:
    """Returns the engine that runs a strategy on a number of ranks."""
    return ENGINES[type(strategy.sharding)](strategy, world_size)

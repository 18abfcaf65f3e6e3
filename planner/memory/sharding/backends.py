"""Lists the backends of the sharding axis."""

from __future__ import annotations

from collections.abc import Mapping

from planner.memory.sharding.backend import Backend
from planner.memory.sharding.deepspeed.backend import DeepSpeedBackend
from planner.memory.sharding.fsdp1 import Fsdp1Backend
from planner.memory.sharding.fsdp2 import Fsdp2Backend
from strategies import DataParallel, Fsdp1, Fsdp2, Replicated, Zero

BACKENDS: Mapping[type[DataParallel], Backend] = {
    Replicated: Backend(),
    Fsdp1: Fsdp1Backend(),
    Fsdp2: Fsdp2Backend(),
    Zero: DeepSpeedBackend(),
}
"""Backend of each class of the sharding axis's values; one that cannot run on any number of ranks has none."""


def backend_of(sharding: DataParallel) -> Backend:
    """Returns the backend of a sharding."""
    return BACKENDS[type(sharding)]

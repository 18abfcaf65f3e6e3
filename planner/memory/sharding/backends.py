"""Lists the backends of the sharding axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from planner.memory.sharding.backend import Backend
from strategies import DataParallel, Fsdp1, Fsdp2, Replicated, Zero


def _fsdp1() -> Backend:
    from planner.memory.sharding.fsdp1 import Fsdp1Backend

    return Fsdp1Backend()


def _fsdp2() -> Backend:
    from planner.memory.sharding.fsdp2.backend import Fsdp2Backend

    return Fsdp2Backend()


def _deepspeed() -> Backend:
    from planner.memory.sharding.deepspeed.backend import DeepSpeedBackend

    return DeepSpeedBackend()


BACKENDS: Mapping[type[DataParallel], Callable[[], Backend]] = {
    Replicated: cache(Backend),
    Fsdp1: cache(_fsdp1),
    Fsdp2: cache(_fsdp2),
    Zero: cache(_deepspeed),
}
"""What makes the backend of each class of the sharding axis's values; one that cannot run on any number of ranks has
none. A backend is imported when it is first asked for: a search on one GPU asks for none of the three that shard."""


def backend_of(sharding: DataParallel) -> Backend:
    """Returns the backend of a sharding."""
    return BACKENDS[type(sharding)]()

"""Holds the axis of sharding: its choices, and one module for each library that divides a model among ranks."""

from strategies.sharding.axis import AXIS, BACKENDS, DataParallel, indivisible
from strategies.sharding.choices import (
    ALIASES,
    ALL_RANKS,
    GradientBuckets,
    GradientSync,
    Offload,
    OverlapComm,
    Sharding,
    ShardingBackend,
    Wrapping,
)
from strategies.sharding.deepspeed import Zero
from strategies.sharding.fsdp1 import Fsdp1
from strategies.sharding.fsdp2 import Fsdp2
from strategies.sharding.fully_sharded import FullySharded
from strategies.sharding.replicated import Replicated

__all__ = [
    "ALIASES",
    "ALL_RANKS",
    "AXIS",
    "BACKENDS",
    "DataParallel",
    "Fsdp1",
    "Fsdp2",
    "FullySharded",
    "GradientBuckets",
    "GradientSync",
    "Offload",
    "OverlapComm",
    "Replicated",
    "Sharding",
    "ShardingBackend",
    "Wrapping",
    "Zero",
    "indivisible",
]

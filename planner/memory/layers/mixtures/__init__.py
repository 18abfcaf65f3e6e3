"""Interprets routers and mixtures of experts; its modules are imported when a model first needs them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.memory.layers.mixtures import dense_experts, experts, gpt_oss_experts, routers, separate_experts

__all__ = ["dense_experts", "experts", "gpt_oss_experts", "routers", "separate_experts"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Runs a step under each value of the sharding axis, with the library that divides the model among the ranks."""

from planner.replay.engines.registry import ENGINES, engine_of

__all__ = ["ENGINES", "engine_of"]

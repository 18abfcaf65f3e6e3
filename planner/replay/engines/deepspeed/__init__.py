"""Runs a step with DeepSpeed's own ZeRO engine: its configuration, what it allocates, and what stands in for a GPU."""

from planner.replay.engines.deepspeed.engine import DeepSpeedEngine

__all__ = ["DeepSpeedEngine"]

"""A replay of the real training step without a GPU: the real model, adapters and optimizer on fake tensors."""

from planner.replay.step import Replayed, replay

__all__ = ["Replayed", "replay"]

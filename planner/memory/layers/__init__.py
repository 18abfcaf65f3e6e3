"""Interprets the forward-pass vocabulary (`planner.models.forward`) on symbolic tensors, layer by layer."""

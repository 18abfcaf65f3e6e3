"""Interprets the forward-pass vocabulary (`planner.models.vocabulary.forward`) on symbolic tensors, layer by layer."""

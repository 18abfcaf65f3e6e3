"""Traces each part of a model on symbolic tensors: its peaks, what it saves, its work."""

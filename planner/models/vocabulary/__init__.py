"""Declares the vocabulary in which a model's forward pass is written, for all its interpreters."""

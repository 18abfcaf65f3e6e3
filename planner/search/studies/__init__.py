"""Samples spaces that are too large to decide every strategy, by studies of optuna that processes share."""

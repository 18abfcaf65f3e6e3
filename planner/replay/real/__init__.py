"""Runs the training step for real, by the same code as the replay."""

"""Defines the choices of a request that no strategy has: task, batches, and what a training loop does besides steps."""

"""Renders what the planner knows without a question: GPUs, machines, models, options and search spaces."""

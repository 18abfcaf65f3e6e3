"""Reads what scripts of `planner export` read."""

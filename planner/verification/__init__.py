"""A plan held against a replay of its real step, and against a run for real."""

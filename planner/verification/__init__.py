"""Compares a plan with a replay of its real step, and the replay with a run of that step for real."""

"""Reads what launches a training run: shell scripts and command lines, which are never executed."""

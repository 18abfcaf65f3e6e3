"""The groups of GPTQ and AWQ weights."""

GROUP = 128
"""Inputs that share a scale and a zero point: what nearly all published checkpoints have."""

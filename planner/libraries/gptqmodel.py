"""Says how GPTQ and AWQ divide weights into groups."""

GROUP = 128
"""Input features that share a scale and a zero point; nearly all published checkpoints have this group size."""

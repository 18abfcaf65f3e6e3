"""Draws pictures of a plan with characters: moments of a step, curves, all plans."""

"""Replays only a few of each run of equal blocks, and derives the trace of the whole model from them."""

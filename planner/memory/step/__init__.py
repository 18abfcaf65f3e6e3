"""Computes the peaks of a step, the bytes of the process and the time of a step from traced parts."""

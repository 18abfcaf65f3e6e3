"""Says how far measured step times are from predicted ones."""

from __future__ import annotations

from planner.time.step import StepTime

COMPUTING = 0.86, 1.17
"""Measured over predicted seconds, the fifth and the ninety-fifth percentile, of 160 steps of which the GPU computes in
at least 85% (benchmarks/throughput.py without llm-foundry, whose 139 runs are nearer than all others). Of the 415 that
are known today it is 0.88 and 1.17."""
COMPUTING_UNMEASURED = 0.70, 1.60
"""The same for GPUs whose shares no step times bear out, or that take those of another architecture. An assumption; the
run on eight MI300X takes 1.15 times what is said."""
WAITING = 0.36, 1.9
"""The same percentiles of what is neither computing nor the optimizer, over the 88 other steps: it depends on
processors and networks that a request does not describe."""


def seconds_between(time: StepTime, *, measured: bool) -> tuple[float, float]:
    """Returns the seconds between which nine of ten measured steps are.

    Args:
        time: The predicted time.
        measured: Whether rates of this architecture are measured.
    """
    waiting = time.launch + time.communication
    low, high = COMPUTING if measured else COMPUTING_UNMEASURED
    computing = time.total - waiting
    return low * computing + WAITING[0] * waiting, high * computing + WAITING[1] * waiting

"""Computes the seconds of the optimizer step, and of adding up the gradients before it."""

from __future__ import annotations

from planner.memory import Traffic
from planner.time.rates import Rates


def optimizer_seconds(traffic: Traffic, rates: Rates) -> float:
    """Returns the seconds of the optimizer step, on the GPU or on the host.

    Args:
        traffic: What the step moves.
        rates: What a rank can do per second.
    """
    gpu = traffic.optimizer_bytes / rates.bytes + traffic.optimizer_flops / rates.half_flops
    host = traffic.host_optimizer_bytes / rates.host_bytes + traffic.step_with_host / rates.host_link_bytes
    return gpu + host


def accumulation_seconds(traffic: Traffic, rates: Rates, steps: int) -> float:
    """Returns the seconds in which each further micro-batch reads gradients, reads its own, and writes the sums.

    Args:
        traffic: What the rank keeps.
        rates: What a rank can do per second.
        steps: Micro-batches per optimizer step.
    """
    return (steps - 1) * 3 * traffic.gradient_bytes / rates.bytes

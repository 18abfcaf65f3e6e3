"""Says how long an optimizer step takes, and what the time goes to."""

from __future__ import annotations

from collections.abc import Iterator

from planner.records.plan import Time
from planner.report.parts.blocks import Wrapped
from planner.report.parts.format import grouped, rounded_percent, seconds, seconds_between

NAMES = {
    "compute": "products and attention",
    "memory_bound": "other operations",
    "recomputation": "recomputation",
    "launch": "waiting for launches",
    "communication": "waiting for communication",
    "optimizer": "optimizer",
}
"""Words for each of the shares, in the order in which they are said."""
SMALLEST = 0.005
"""Share of a step from which on it is said."""


def times(time: Time, ranks: int) -> Iterator[Wrapped]:
    """Yields a line on the speed, with its range, and one on the shares, where the answer has them.

    Args:
        time: The predicted time.
        ranks: Number of GPUs.
    """
    speed = f"{grouped(time.tokens_per_second)} tokens/s"
    if ranks > 1 and time.tokens_per_second_per_gpu is not None:
        speed += f", {grouped(time.tokens_per_second_per_gpu)} per GPU"
    if time.model_flops_utilization is not None:
        speed += f", {rounded_percent(time.model_flops_utilization)} model FLOPs utilization"
    between = ""
    if time.step_seconds_low is not None and time.step_seconds_high is not None:
        between = f" ({seconds_between(time.step_seconds_low, time.step_seconds_high)} in 9 of 10 cases)"
    yield Wrapped(f"{seconds(time.step_seconds)} per optimizer step{between}, {speed}")
    if time.shares is not None:
        shares = [(words, getattr(time.shares, name)) for name, words in NAMES.items()]
        said = ", ".join(f"{words} {rounded_percent(share)}" for words, share in shares if share >= SMALLEST)
        yield Wrapped(f"of it: {said}")

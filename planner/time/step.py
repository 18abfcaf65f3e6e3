"""Computes the seconds of an optimizer step, and what they go to."""

from typing import NamedTuple

from planner.memory import Traffic, Work
from planner.time.collectives import collective_seconds, lost_seconds
from planner.time.gpu import gpu_seconds
from planner.time.host import busy_seconds
from planner.time.optimizer import accumulation_seconds, optimizer_seconds
from planner.time.rates import Rates


class StepTime(NamedTuple):
    """Seconds of one optimizer step; all but `total` add up to it."""

    total: float
    compute: float
    """Matrix products and fused attention, without recomputation."""
    memory_bound: float
    """Other operations, without recomputation."""
    recomputation: float
    """Everything that checkpointing computes again."""
    launch: float
    """The GPU waits for the host, which launches kernels."""
    communication: float
    """The GPU waits for collectives or copies, or computes more slowly while they run."""
    optimizer: float
    """The optimizer step, and the sums of gradients over micro-batches."""

    @property
    def parts(self) -> dict[str, float]:
        """Returns what adds up to `total`, by name."""
        return {name: seconds for name, seconds in self._asdict().items() if name != "total"}


def step_time(work: Work, again: Work, traffic: Traffic, rates: Rates, micro_batch_size: int, steps: int) -> StepTime:
    """Returns the time of one optimizer step.

    The GPU computes, the host launches and links exchange at the same time; the longest decides. What is reduced once
    per step, as DDP does, overlaps with the last backward, which is two thirds of its micro-batch.

    The time per sample never rises with the micro-batch: between the sizes where another of the three becomes the
    longest, a step takes `fixed + per_sample x micro_batch_size` seconds, and `fixed` is not below 0. At a given
    micro-batch, the time per sample is affine in one over the steps. Searches rely on both.

    Args:
        work: Work of one micro-batch, fixed and per sample.
        again: The part of it that computes forward again.
        traffic: What a rank exchanges, and the work of the optimizer step.
        rates: What a rank can do per second.
        micro_batch_size: Samples per micro-batch.
        steps: Micro-batches per optimizer step.
    """
    gpu, repeated = gpu_seconds(work, rates, micro_batch_size), gpu_seconds(again, rates, micro_batch_size)
    exchanging = max(collective_seconds(traffic.micro, rates), traffic.with_host / rates.host_link_bytes)
    lost = lost_seconds(gpu.total, exchanging, traffic.micro, traffic)
    busy = busy_seconds(gpu.total + lost, work, traffic, rates)  # while it waits for the host, nothing slows it down
    micro = max(busy, exchanging + lost) + collective_seconds(traffic.waited_for, rates)
    backward, reducing = gpu.total * 2 / 3, collective_seconds(traffic.step, rates)
    last = max(0.0, reducing - backward) + lost_seconds(backward, reducing, traffic.step, traffic)
    optimizer = optimizer_seconds(traffic, rates) + accumulation_seconds(traffic, rates, steps)
    return StepTime(
        total=steps * micro + last + optimizer,
        compute=steps * (gpu.products - repeated.products),
        memory_bound=steps * (gpu.memory_bound - repeated.memory_bound),
        recomputation=steps * repeated.total,
        launch=steps * (busy - gpu.total - lost),
        communication=steps * (micro - busy + lost) + last,
        optimizer=optimizer,
    )

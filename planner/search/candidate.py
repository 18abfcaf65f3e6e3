"""Solves a strategy for its best micro-batch and accumulation, with its memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster
from planner.memory import Footprint, StepMemory, Work
from planner.time import Rates, step_time
from strategies import (
    Accumulation,
    AdapterDtype,
    DataParallel,
    FullySharded,
    GradientSync,
    Lora,
    Strategy,
    UnquantizedDtype,
    UpTo,
    Zero,
)

Rank = tuple[int, float, int, int, int]
"""Sort key of a candidate; the smallest is the best."""


def syncs_each(sharding: DataParallel) -> bool:
    """Returns whether shards of gradients are reduced in every micro-batch."""
    return isinstance(sharding, FullySharded) and sharding.gradient_sync is GradientSync.EACH


class Candidate(NamedTuple):
    """Holds a strategy with a micro-batch and accumulation, and what they take.

    Attributes:
        strategy: The strategy.
        footprint: Its memory for every micro-batch.
        micro_batch_size: Samples per rank and forward pass.
        gradient_accumulation_steps: Micro-batches per optimizer step.
        global_batch_size: Samples of all ranks per optimizer step, the effective batch.
        seconds: Predicted time of an optimizer step.
        process_bytes: Peak bytes of the process on one GPU.
    """

    strategy: Strategy
    footprint: Footprint
    micro_batch_size: int
    gradient_accumulation_steps: int
    global_batch_size: int
    seconds: float
    process_bytes: int

    @property
    def rank(self) -> Rank:
        """Returns a key that sorts by effective batch, time, recomputation, reductions of gradients and headroom."""
        recomputes, syncs = int(self.strategy.checkpointing.recomputes), int(syncs_each(self.strategy.sharding))
        return (-self.global_batch_size, self.seconds, recomputes, syncs, self.process_bytes)

    @property
    def syncs_less(self) -> Strategy | None:
        """Returns the strategy that differs in reducing gradients once per step; None if this one does that already."""
        if not syncs_each(self.strategy.sharding):
            return None
        options = {**self.strategy.to_options(), "gradient_sync": GradientSync.LAST}
        return Strategy.of(options)

    @property
    def instead(self) -> tuple[Strategy, ...]:
        """Returns strategies that are as good: with fewer reductions of gradients, or the same step in other words."""
        return tuple(s for s in (self.syncs_less, _cast_alike(self.strategy)) if s is not None)


def _cast_alike(strategy: Strategy) -> Strategy | None:
    """Returns the same step with adapters and the rest of the base loaded in fp32, which DeepSpeed casts to half."""
    method = strategy.finetuning
    if not isinstance(strategy.sharding, Zero) or not isinstance(method, Lora):
        return None
    raised = method._replace(adapter_dtype=AdapterDtype.FP32, unquantized_dtype=UnquantizedDtype.FP32)
    return strategy._replace(finetuning=raised) if raised != method else None


class Solver:
    """Solves strategies for one model, cluster, workload and budget.

    Args:
        model: Memory and time of the model on the cluster.
        budget_bytes: Bytes that a process may take on one GPU.
        accumulation: What bounds or fixes the accumulation steps.
        micro_batch_sizes: Micro-batches that are allowed, in samples; empty for all.
    """

    def __init__(
        self,
        model: StepMemory,
        budget_bytes: int,
        accumulation: Accumulation,
        micro_batch_sizes: Sequence[int] = (),
    ) -> None:
        self.model, self.budget_bytes, self.accumulation = model, budget_bytes, accumulation
        self.allowed = tuple(sorted(micro_batch_sizes, reverse=True))

    @property
    def smallest_micro_batch(self) -> int:
        """Returns the smallest micro-batch that is allowed, in samples."""
        return self.allowed[-1] if self.allowed else 1

    @property
    def cluster(self) -> Cluster:
        """Returns the cluster that strategies run on."""
        return self.model.cluster

    def solve(self, strategy: Strategy) -> Candidate | None:
        """Returns the best candidate of a strategy that fits, or None."""
        options = self._largest(strategy) if isinstance(self.accumulation, UpTo) else self._exact(strategy)
        return min(options, key=lambda c: c.rank, default=None)

    def fits(self, strategy: Strategy) -> bool:
        """Returns whether a strategy has a candidate that fits."""
        return self.solve(strategy) is not None

    def lacks_host_memory(self, strategy: Strategy) -> bool:
        """Returns whether a strategy's smallest micro-batch fits into the GPU's memory, but not into the host's."""
        footprint, size = self.footprint(strategy, 1), self.smallest_micro_batch
        return not footprint.host.fits(size) and footprint.process_bytes(size) <= self.budget_bytes

    def candidate(self, strategy: Strategy, micro_batch_size: int, steps: int) -> Candidate:
        """Returns the candidate with a given micro-batch and accumulation, whether it fits or not.

        Args:
            strategy: The strategy.
            micro_batch_size: Samples per rank and forward pass.
            steps: Accumulation steps.
        """
        footprint = self.footprint(strategy, steps)
        return Candidate(
            strategy,
            footprint,
            micro_batch_size,
            steps,
            micro_batch_size * steps * self.cluster.world_size,
            self.seconds(strategy, micro_batch_size, steps),
            footprint.process_bytes(micro_batch_size),
        )

    def _limit(self, strategy: Strategy, steps: int) -> int:
        """Returns the largest micro-batch that fits, 0 if none does."""
        return self.footprint(strategy, steps).largest_micro_batch(self.budget_bytes)

    def footprint(self, strategy: Strategy, steps: int) -> Footprint:
        """Returns the memory of a strategy, loaded on the GPU if that is within the budget, else on the host."""
        return self.model.footprint(strategy, steps).loaded_within(self.budget_bytes)

    def _largest(self, strategy: Strategy) -> list[Candidate]:
        """Returns the candidates that can be best: with as many steps as are allowed, and with one step.

        More steps only multiply the batch, but more than one keeps gradients in memory between micro-batches, so one
        step may allow a larger micro-batch.
        """
        assert isinstance(self.accumulation, UpTo)
        found = []
        for steps in {1, self.accumulation.max_steps if strategy.update.accumulates else 1}:
            limit = self._limit(strategy, steps)
            if self.allowed:
                limit = next((size for size in self.allowed if size <= limit), 0)
            if limit > 0:
                found.append(self.candidate(strategy, limit, steps))
        return found

    def _exact(self, strategy: Strategy) -> list[Candidate]:
        """Returns all candidates that fit and make the global batch that is asked for."""
        assert not isinstance(self.accumulation, UpTo)
        limits = {steps: self._limit(strategy, steps) for steps in (1, 2, 3)}  # more than 3 are like 3
        return [
            self.candidate(strategy, size, steps)
            for size, steps in self.accumulation.factors(self.cluster.world_size)
            if size <= limits[min(steps, 3)] and (not self.allowed or size in self.allowed)
            if steps == 1 or strategy.update.accumulates
        ]

    def seconds(self, strategy: Strategy, micro_batch_size: int, steps: int) -> float:
        """Returns the predicted time of an optimizer step of that many micro-batches."""
        work, traffic = self.model.work(strategy), self.model.traffic(strategy)
        rates = Rates.of(self.cluster, strategy)
        return step_time(work, Work(), traffic, rates, micro_batch_size, steps).total

"""Solves a strategy for its best micro-batch and accumulation, with its memory and time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from hardware import Cluster
from planner.memory import Footprint, StepMemory, Work
from planner.search.candidate import Candidate
from planner.search.order import BY_BATCH, Order
from planner.search.run_limits import NO_LIMITS, RunLimits
from planner.time import Rates, step_time
from strategies import (
    Accumulation,
    Exactly,
    Objective,
    Steps,
    Strategy,
)

ALIKE_FROM = 3
"""Accumulation steps from which on more of them take the same memory: the first and the last micro-batch of a step can
differ from those between them."""


class Solver:
    """Solves strategies for one model, cluster, workload and budget.

    Args:
        model: Memory and time of the model on the cluster.
        budget_bytes: Bytes that a process may take on one GPU.
        accumulation: What bounds or fixes the accumulation steps.
        micro_batch_sizes: Micro-batches that are allowed, in samples; empty for all.
        order: What makes a candidate better than another one.
        limits: Time and price of a run.
        limit_bytes: Bytes up to which a process is said to fit that takes more than the budget; None for the budget.
    """

    def __init__(
        self,
        model: StepMemory,
        budget_bytes: int,
        accumulation: Accumulation,
        micro_batch_sizes: Sequence[int] = (),
        order: Order = BY_BATCH,
        limits: RunLimits = NO_LIMITS,
        limit_bytes: int | None = None,
    ) -> None:
        self.model, self.budget_bytes, self.accumulation = model, budget_bytes, accumulation
        self.allowed = tuple(sorted(micro_batch_sizes, reverse=True))
        self.order, self.limits = order, limits
        self.limit_bytes = budget_bytes if limit_bytes is None else limit_bytes

    @property
    def smallest_micro_batch(self) -> int:
        """Returns the smallest micro-batch that is allowed, in samples."""
        return self.allowed[-1] if self.allowed else 1

    @property
    def cluster(self) -> Cluster:
        """Returns the cluster that strategies run on."""
        return self.model.cluster

    def solve(self, strategy: Strategy) -> Candidate | None:
        """Returns the best candidate of a strategy that fits and is within the limits, or None."""
        return min(self.within(strategy), key=lambda c: c.rank, default=None)

    def fits(self, strategy: Strategy) -> bool:
        """Returns whether a strategy has a candidate that fits and is within the limits."""
        return self.solve(strategy) is not None

    def exceeded(self, candidate: Candidate) -> str | None:
        """Returns which limit of a run a candidate exceeds, as a reason; None if it exceeds none."""
        return self.limits.exceeded(candidate.seconds_per_sample) if self.limits.bind else None

    def exceeds(self, strategy: Strategy) -> str | None:
        """Returns which limit of a run every candidate of a strategy exceeds that fits; None if none fits, or not all.

        It is that of the fastest one.
        """
        fastest = min(self._options(strategy), key=lambda c: c.seconds_per_sample, default=None)
        return None if fastest is None else self.exceeded(fastest)

    def within(self, strategy: Strategy) -> list[Candidate]:
        """Returns the candidates that fit within the limits, the best one among them; all of a batch that is given."""
        return [candidate for candidate in self._options(strategy) if self.exceeded(candidate) is None]

    def sizes(self, strategy: Strategy, steps: int) -> Sequence[int]:
        """Returns the micro-batches that fit with a number of steps, smallest first."""
        return self._sizes(self._limit(strategy, steps))

    def lacks_host_memory(self, strategy: Strategy) -> bool:
        """Returns whether a strategy's smallest micro-batch fits into the GPU's memory, but not into the host's."""
        if self._never_fits(strategy, 1):
            return False
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
            self.order,
        )

    def steps_of(self, strategy: Strategy) -> list[int]:
        """Returns the accumulation steps that can be the best for a strategy, where the batch is open.

        Memory is the same from `ALIKE_FROM` steps on, and the time per sample is affine in one over the steps, so that
        one end of them is the fastest, and the larger one has the largest batch. That one comes first.
        """
        assert not isinstance(self.accumulation, Exactly)
        if isinstance(self.accumulation, Steps):
            steps = self.accumulation.steps
            return [steps] if steps == 1 or strategy.update.accumulates else []
        most = self.accumulation.max_steps if strategy.update.accumulates else 1
        return list(dict.fromkeys((most, *range(1, min(most, ALIKE_FROM) + 1))))

    def _options(self, strategy: Strategy) -> Iterator[Candidate]:
        """Yields candidates that fit, the best one and the fastest one among them."""
        if isinstance(self.accumulation, Exactly):
            yield from self._exact(strategy)
            return
        largest, most = 0, None
        for steps in self.steps_of(strategy):
            if most is not None and steps * most < largest and self._only_batch:
                continue  # more steps never leave room for larger micro-batches
            sizes = self.sizes(strategy, steps)
            most = (sizes[-1] if sizes else 0) if steps == 1 else most
            if not sizes:
                continue
            largest = max(largest, steps * sizes[-1])
            yield self.candidate(strategy, sizes[-1], steps)
            if self.limits.bind:
                yield from self._within_limits(strategy, sizes, steps)
            elif self.order.objective is Objective.MEMORY:
                yield self.candidate(strategy, sizes[0], steps)

    @property
    def _only_batch(self) -> bool:
        """Returns whether the largest batch is the best one, however long it takes."""
        return self.order.objective is Objective.BATCH and not self.limits.bind

    def _within_limits(self, strategy: Strategy, sizes: Sequence[int], steps: int) -> Iterator[Candidate]:
        """Yields the candidates that are best within the limits of a run, if not all are within.

        The time per sample falls with the micro-batch (see `planner.time.step`), so that the smallest one within the
        limits takes the least memory. Where it rises with the steps, fewer of them are within than are allowed.

        Args:
            strategy: The strategy.
            sizes: Micro-batches that fit, smallest first.
            steps: Accumulation steps.
        """

        def within(size: int, count: int) -> bool:
            return self.exceeded(self.candidate(strategy, size, count)) is None

        if within(sizes[-1], steps):
            if self.order.objective is Objective.MEMORY:
                place = bisect_left(sizes, True, key=lambda size: within(size, steps))
                yield self.candidate(strategy, sizes[place], steps)
        elif steps > ALIKE_FROM and not isinstance(self.accumulation, Steps) and within(sizes[-1], ALIKE_FROM):
            over = bisect_left(range(ALIKE_FROM, steps), True, key=lambda count: not within(sizes[-1], count))
            yield self.candidate(strategy, sizes[-1], ALIKE_FROM + over - 1)

    def _sizes(self, limit: int) -> Sequence[int]:
        """Returns the micro-batches that are allowed, up to a limit, smallest first."""
        if self.allowed:
            return [size for size in reversed(self.allowed) if size <= limit]
        return range(1, limit + 1)

    def _limit(self, strategy: Strategy, steps: int) -> int:
        """Returns the largest micro-batch that fits, 0 if none does."""
        if self._never_fits(strategy, steps):
            return 0
        return self.footprint(strategy, steps).largest_micro_batch(self.budget_bytes)

    def _never_fits(self, strategy: Strategy, steps: int) -> bool:
        """Returns whether a strategy is known not to fit by what it takes at any micro-batch; False says nothing."""
        return self.model.least_process_bytes(strategy, steps) > self.budget_bytes

    def footprint(self, strategy: Strategy, steps: int) -> Footprint:
        """Returns the memory of a strategy, loaded on the GPU if that is within the budget, else on the host."""
        return self.model.footprint(strategy, steps).loaded_within(self.budget_bytes)

    def _exact(self, strategy: Strategy) -> list[Candidate]:
        """Returns all candidates that fit and make the global batch that is asked for."""
        assert isinstance(self.accumulation, Exactly)
        factors = [
            (size, steps)
            for size, steps in self.accumulation.factors(self.cluster.world_size)
            if not self.allowed or size in self.allowed
            if steps == 1 or strategy.update.accumulates
        ]
        limits = {steps: self._limit(strategy, steps) for steps in {min(steps, ALIKE_FROM) for _, steps in factors}}
        return [
            self.candidate(strategy, size, steps) for size, steps in factors if size <= limits[min(steps, ALIKE_FROM)]
        ]

    def seconds(self, strategy: Strategy, micro_batch_size: int, steps: int) -> float:
        """Returns the predicted time of an optimizer step of that many micro-batches."""
        work, traffic = self.model.work(strategy), self.model.traffic(strategy)
        rates = Rates.of(self.cluster, strategy)
        return step_time(work, Work(), traffic, rates, micro_batch_size, steps).total

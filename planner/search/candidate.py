"""One strategy solved: its best micro-batch and accumulation, its memory and its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster
from planner.memory import Footprint, Rates, StepMemory, step_seconds
from strategies import Accumulation, Strategy, UpTo


class Candidate(NamedTuple):
    """A strategy with micro-batch and accumulation; `seconds` per optimizer step."""

    strategy: Strategy
    footprint: Footprint
    micro_batch_size: int
    gradient_accumulation_steps: int
    global_batch_size: int
    seconds: float
    process_bytes: int

    @property
    def rank(self) -> tuple[int, float, int, int]:
        """Sorts best first: largest effective batch, fastest step, least recomputation, most headroom."""
        recomputes = int(self.strategy.checkpointing.recomputes)
        return (-self.global_batch_size, self.seconds, recomputes, self.process_bytes)


class Solver:
    """Solves strategies for one model, cluster, workload and budget."""

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
        return self.allowed[-1] if self.allowed else 1

    @property
    def cluster(self) -> Cluster:
        return self.model.cluster

    def solve(self, strategy: Strategy) -> Candidate | None:
        """The best candidate of a strategy that fits, or None."""
        options = self._largest(strategy) if isinstance(self.accumulation, UpTo) else self._exact(strategy)
        return min(options, key=lambda c: c.rank, default=None)

    def fits(self, strategy: Strategy) -> bool:
        """Whether there is a candidate of a strategy that fits."""
        return self.solve(strategy) is not None

    def candidate(self, strategy: Strategy, micro_batch_size: int, steps: int) -> Candidate:
        """A strategy at a given micro-batch and accumulation, whether it fits or not."""
        footprint = self.model.footprint(strategy, accumulates=steps > 1)
        return Candidate(
            strategy,
            footprint,
            micro_batch_size,
            steps,
            micro_batch_size * steps * self.cluster.world_size,
            self._seconds(strategy, micro_batch_size, steps),
            footprint.process_bytes(micro_batch_size),
        )

    def _limit(self, strategy: Strategy, steps: int) -> int:
        return self.model.footprint(strategy, accumulates=steps > 1).largest_micro_batch(self.budget_bytes)

    def _largest(self, strategy: Strategy) -> list[Candidate]:
        """Each step count only multiplies the batch, but accumulating at all costs gradients that stay: so the best is
        either as many steps as allowed, or one with a larger micro-batch."""
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
        assert not isinstance(self.accumulation, UpTo)
        limits = {False: self._limit(strategy, 2), True: self._limit(strategy, 1)}
        return [
            self.candidate(strategy, size, steps)
            for size, steps in self.accumulation.factors(self.cluster.world_size)
            if size <= limits[steps == 1] and (not self.allowed or size in self.allowed)
            if steps == 1 or strategy.update.accumulates
        ]

    def _seconds(self, strategy: Strategy, micro_batch_size: int, steps: int) -> float:
        work, traffic = self.model.work(strategy), self.model.traffic(strategy)
        return step_seconds(work, traffic, Rates.of(self.cluster, strategy.precision), micro_batch_size, steps)

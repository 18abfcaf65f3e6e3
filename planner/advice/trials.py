"""Tries a changed request with one strategy: by how much it is over the budget, at each moment of a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from planner.advice.variants import Variant
from planner.memory import Footprint
from planner.search import Candidate, Solver
from strategies import Strategy, UpTo

KEPT, HOST = "kept", "host"
"""Keys in addition to the moments of a step: what stays between steps, and the host's memory."""


class Trial(NamedTuple):
    """Holds a strategy at the smallest batch that a request allows.

    Attributes:
        solver: Solves the strategy under the changed request.
        strategy: The strategy.
        batch: Its micro-batch and accumulation steps.
        over: Bytes over the budget by moment, negative where there is room; with those of `KEPT` and `HOST`.
    """

    solver: Solver
    strategy: Strategy
    batch: tuple[int, int]
    over: Mapping[str, int]

    @property
    def worst(self) -> int:
        """Returns the most bytes over a budget; the strategy fits if there are none."""
        return max(self.over.values())

    @property
    def size(self) -> tuple[bool, int, int, int]:
        """Returns what sorts trials: whether they fit, then the most bytes over the GPU's budget, and over the host's.

        Of trials that are equal there, the one that takes less at all moments together is the smallest.
        """
        on_gpu = max(over for moment, over in self.over.items() if moment != HOST)
        return not self.fits, on_gpu, self.over.get(HOST, 0), sum(self.over.values())

    def is_under(self, other: Trial) -> bool:
        """Returns whether this takes no more than another trial at any moment."""
        return all(over <= other.over.get(moment, over) for moment, over in self.over.items())

    @property
    def fits(self) -> bool:
        """Returns whether it fits, and some batch of the strategy is within the limits of a run, if there are any."""
        return self.worst <= 0 and (not self.solver.limits.bind or self.solver.fits(self.strategy))

    def candidate(self) -> Candidate:
        """Returns the strategy at that batch."""
        return self.solver.candidate(self.strategy, *self.batch)

    def seconds_per_token(self) -> float:
        """Returns the predicted time for one token of all GPUs together.

        A search accumulates as much as it may, so that the optimizer's step counts as little as it will.
        """
        size, steps = self.batch
        if isinstance(self.solver.accumulation, UpTo) and self.strategy.update.accumulates:
            steps = self.solver.accumulation.max_steps
        samples = size * steps * self.solver.cluster.world_size
        return self.solver.seconds(self.strategy, size, steps) / (samples * self.solver.model.real_tokens)


def tried(variant: Variant, strategy: Strategy) -> Trial | None:
    """Returns the best trial of a strategy's batches; None if it has none."""
    found = (trial_of(variant, strategy, batch) for batch in variant.batches(strategy))
    return min(found, key=lambda trial: trial.size, default=None)


def trial_of(variant: Variant, strategy: Strategy, batch: tuple[int, int]) -> Trial:
    """Returns the trial of a strategy at one batch."""
    solver = variant.solver
    footprint = solver.footprint(strategy, batch[1])
    over = _over(footprint, batch[0], solver.budget_bytes)
    return Trial(solver, strategy, batch, over)


def _over(footprint: Footprint, size: int, budget: int) -> dict[str, int]:
    """Returns the bytes of each moment over the budget, each with what is outside of tensors at the peak."""
    outside = footprint.process_bytes(size) - footprint.allocated_bytes(size) - budget
    found = {moment.value: num_bytes + outside for moment, num_bytes in footprint.moments(size).items()}
    found[KEPT] = footprint.persistent.total + footprint.outside.workspace_bytes + outside
    if footprint.host.limit_bytes is not None:
        found[HOST] = footprint.host.node_bytes(size) - footprint.host.limit_bytes
    return found


def best(trials: Iterable[Trial | None]) -> Trial | None:
    """Returns the trial that is the least over its budget; None if there is none."""
    return min((trial for trial in trials if trial is not None), key=lambda trial: trial.size, default=None)


def best_near(variant: Variant, near: Strategy | None) -> Trial | None:
    """Returns the best trial of a request's strategies, of those near a strategy if one is given."""
    return best(tried(variant, strategy) for strategy in variant.strategies(near))

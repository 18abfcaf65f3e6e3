"""Orders candidates: first by what puts the quality of the training at risk, then by the objective.

Where two candidates have the same micro-batch and accumulation, and one of them takes no more memory and time, no key
here puts it behind the other. So of the strategies in a chain the first is the best for every objective.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from strategies import FullySharded, GradientSync, Objective, Strategy

if TYPE_CHECKING:
    from planner.search.candidate import Candidate

Rank = tuple[float, ...]
"""Sort key of a candidate; the smallest is the best."""


def syncs_each(strategy: Strategy) -> bool:
    """Returns whether shards of gradients are reduced in every micro-batch."""
    return isinstance(strategy.sharding, FullySharded) and strategy.sharding.gradient_sync is GradientSync.EACH


def _by_batch(c: Candidate) -> Rank:
    return (-c.global_batch_size, c.seconds, *_simpler(c), c.process_bytes)


def _by_time_per_sample(c: Candidate) -> Rank:
    return (c.seconds / c.global_batch_size, -c.global_batch_size, *_simpler(c), c.process_bytes)


def _by_memory(c: Candidate) -> Rank:
    return (c.process_bytes, c.seconds / c.global_batch_size, *_simpler(c), -c.global_batch_size)


def _simpler(c: Candidate) -> Rank:
    return (int(c.strategy.checkpointing.recomputes), int(syncs_each(c.strategy)))


KEYS: dict[Objective, Callable[[Candidate], Rank]] = {
    Objective.BATCH: _by_batch,
    Objective.THROUGHPUT: _by_time_per_sample,
    Objective.COST: _by_time_per_sample,  # all candidates of a search run on the same machine, at the same price
    Objective.MEMORY: _by_memory,
}
"""Sort key of each objective."""


def no_risks(strategy: Strategy) -> int:
    """Returns 0: no choice counts as a risk."""
    return 0


class Order(NamedTuple):
    """Says which of two candidates is better.

    Attributes:
        objective: What candidates are compared by.
        risks: Returns the number of a strategy's choices that put the quality of the training at risk; fewer are better
            whatever the objective.
    """

    objective: Objective = Objective.BATCH
    risks: Callable[[Strategy], int] = no_risks

    def rank(self, candidate: Candidate) -> Rank:
        """Returns the sort key of a candidate."""
        return (self.risks(candidate.strategy), *KEYS[self.objective](candidate))


BY_BATCH = Order()
"""The largest effective batch comes first, whatever the risks."""

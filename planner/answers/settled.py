"""Decides leading candidates by the allocator's model, where no closed form says what the allocator needs.

That is so with native segments. The search ranks such strategies by a usual amount; here each of the first ones gets
the largest micro-batch whose requests the allocator's model serves within the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from planner.answers.memory import missing_from
from planner.answers.plans import plan_of
from planner.memory.reserved import requests_of, reserved
from planner.records.plan import Plan
from planner.search import Candidate, Solver
from strategies import Allocator, Exactly, Strategy


class Settled:
    """Settles leading candidates of a search, and makes plans of them, each once.

    Args:
        solver: The solver that found them.
    """

    def __init__(self, solver: Solver) -> None:
        self.solver = solver
        self._known: dict[tuple[Strategy, int], Candidate | None] = {}
        self._plans: dict[tuple[Strategy, int, int], Plan] = {}

    def of(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Returns the candidates with micro-batches that the allocator serves, best first, without those of none."""
        return sorted((c for c in map(self._settled, candidates) if c is not None), key=lambda c: c.rank)

    def _settled(self, candidate: Candidate) -> Candidate | None:
        if candidate.strategy.allocator is not Allocator.NATIVE:
            return candidate
        key = candidate.strategy, candidate.gradient_accumulation_steps
        if key not in self._known:
            self._known[key] = _settled(candidate, self.solver)
        return self._known[key]

    def plans(self, candidates: Iterable[Candidate]) -> tuple[Plan, ...]:
        """Returns the plans of settled candidates."""
        found = []
        for c in candidates:
            key = c.strategy, c.micro_batch_size, c.gradient_accumulation_steps
            if key not in self._plans:
                self._plans[key] = plan_of(c, self.solver)
            found.append(self._plans[key])
        return tuple(found)


def _settled(candidate: Candidate, solver: Solver) -> Candidate | None:
    """Returns the best candidate of the same strategy whose requests are served; None if there is none."""
    options = list(_options(candidate, solver))
    asked = candidate.micro_batch_size, candidate.gradient_accumulation_steps
    start = options.index(asked) if asked in options else 0
    low, high = -1, len(options)  # the options at `low` and below are served, those at `high` and above are not
    while high - low > 1:
        place = start if low < start < high else (low + high) // 2
        if _is_served(solver.candidate(candidate.strategy, *options[place]), solver):
            low = place
            start = min(place + 1, high - 1)
        else:
            high = place
            start = max(place - 1, low + 1)
    return solver.candidate(candidate.strategy, *options[low]) if low >= 0 else None


def _options(candidate: Candidate, solver: Solver) -> Iterator[tuple[int, int]]:
    """Yields the (micro-batch, accumulation steps) whose allocated bytes are within the budget, smallest first."""
    footprint = candidate.footprint
    most = footprint._replace(slack=footprint.slack.nothing).largest_micro_batch(solver.budget_bytes)
    sizes: Sequence[tuple[int, int]]
    if isinstance(solver.accumulation, Exactly):
        sizes = sorted(solver.accumulation.factors(solver.cluster.world_size))
    else:
        sizes = [(size, candidate.gradient_accumulation_steps) for size in range(1, most + 1)]
    for size, steps in sizes:
        accumulates = steps == 1 or candidate.strategy.update.accumulates
        if size <= most and accumulates and (not solver.allowed or size in solver.allowed):
            yield size, steps


def _is_served(candidate: Candidate, solver: Solver) -> bool:
    """Returns whether the allocator's model serves a candidate's requests within the budget.

    Where their order is not known, the closed form decides.
    """
    size, steps = candidate.micro_batch_size, candidate.gradient_accumulation_steps
    requests = requests_of(solver.model, candidate.strategy, size, steps)
    if requests is None:
        return candidate.process_bytes <= solver.budget_bytes
    limit = candidate.footprint.outside.reserved_within(solver.budget_bytes)
    served = reserved(requests, candidate.strategy.allocator, limit)
    return served.fits and served.reserved_bytes + missing_from(candidate, served) <= limit

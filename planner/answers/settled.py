"""Decides leading candidates by the allocator's model, where no closed form says what the allocator needs.

That is so with native segments. The search ranks such strategies by a usual amount; here each of the first ones gets
the largest micro-batch whose requests the allocator's model serves within the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from planner.answers.memory import missing_from
from planner.memory.reserved import Served
from planner.search import DOES_NOT_FIT, Candidate, Found, Solver
from strategies import Allocator, Exactly, Objective, Strategy

ONE_BY_ONE = 8
"""How many of the largest micro-batches are tried one by one: a smaller one is not always served where a larger one is.
What is not served is often seen before the first step has ended."""


def settle(found: Found, solver: Solver, number: int) -> None:
    """Gives leading candidates of a search micro-batches that the allocator serves, and rejects those of none.

    Args:
        found: What a search has found, whose ranking is changed.
        solver: The solver that found it.
        number: Candidates that will be recommended.
    """
    known: dict[Strategy, Candidate | None] = {}

    def served(candidate: Candidate, others: Sequence[Candidate]) -> Candidate | None:
        if candidate.strategy.allocator is not Allocator.NATIVE:
            return candidate
        if candidate.strategy not in known:
            unknown = (c for c in others if c.strategy not in known)
            known.update(_at_once([candidate, *unknown], solver))
        return known[candidate.strategy] if candidate.strategy in known else settled(candidate, solver)

    if any(candidate.strategy.allocator is Allocator.NATIVE for candidate in found.ranking.first(number)):
        found.rejected[DOES_NOT_FIT] += found.ranking.decide(number, served)


def _at_once(candidates: Iterable[Candidate], solver: Solver) -> dict[Strategy, Candidate | None]:
    """Returns what candidates are settled as, by strategy; nothing where they have to be settled one by one.

    Of those of which some micro-batches have been served, others are soon decided.
    """
    served = Served(solver.model)
    natives = {
        c.strategy: c for c in candidates if c.strategy.allocator is Allocator.NATIVE and not served.known(c.strategy)
    }
    if len(natives) < 2:
        return {}
    from planner.answers.settled_at_once import settled_at_once

    found = settled_at_once(list(natives.values()), solver, settled)
    return {} if found is None else dict(zip(natives, found, strict=True))


def settled(candidate: Candidate, solver: Solver) -> Candidate | None:
    """Returns the best candidate of the same strategy whose requests are served; None if there is none.

    Where the least memory is looked for, the candidate has the smallest micro-batch that is within the limits.
    """
    if solver.order.objective is Objective.MEMORY:
        return _served(candidate, solver)
    options = list(_options(candidate, solver))
    best: Candidate | None = None
    low, high, down = -1, len(options), 1  # the option at `low` is served, those from `high` on are taken not to be
    while high - low > 1:
        place = (low + high) // 2 if best is not None else max(high - down, 0)
        if (served := _served(solver.candidate(candidate.strategy, *options[place]), solver)) is not None:
            low, best = place, served
        else:
            high = place
            down *= 2 if len(options) - high >= ONE_BY_ONE else 1
    return best if best is not None and solver.exceeded(best) is None else None


def at_most(candidate: Candidate, solver: Solver) -> Candidate | None:
    """Returns a candidate with the largest micro-batch that allocated bytes leave room for; None if there is none.

    What the allocator's model decides has no larger batch and no shorter time per sample.
    """
    options = list(_options(candidate, solver))
    return solver.candidate(candidate.strategy, *options[-1]) if options else None


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


def _served(candidate: Candidate, solver: Solver) -> Candidate | None:
    """Returns a candidate with what the allocator's model reserves for it, or None if that exceeds the budget.

    Where the order of its requests is not known, the closed form decides.
    """
    size, steps = candidate.micro_batch_size, candidate.gradient_accumulation_steps
    limit = candidate.footprint.outside.reserved_within(solver.budget_bytes)
    served = Served(solver.model).within(candidate.strategy, size, steps, limit)
    if served is None:
        return candidate if candidate.process_bytes <= solver.budget_bytes else None
    fits = served.fits and served.reserved_bytes + missing_from(candidate, served) <= limit
    return candidate._replace(served=served) if fits else None

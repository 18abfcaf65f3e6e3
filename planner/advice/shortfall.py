"""Says why nothing fits: the smallest plan, what it lacks, and the ways out."""

from __future__ import annotations

from collections.abc import Sequence

from planner.advice.variants import Variants
from planner.advice.ways import ways_out
from planner.answers.plans import plan_of
from planner.problem.problem import Problem
from planner.records.advice import Shortfall, Way
from planner.search import Candidate, Solver, TooManyStrategiesError, smallest
from planner.search.exhaustive import possible
from strategies import Space, Strategy

MOST_LOOKED_THROUGH = 1_000
"""Most strategies of a space that are all looked at; of a larger space, the smallest plan alone is changed."""


def shortfall_of(problem: Problem, space: Space, solver: Solver) -> Shortfall | None:
    """Says why nothing fits: the smallest plan, its largest category, and the changes that would fit.

    Args:
        problem: The resolved request.
        space: The space that was searched.
        solver: The solver that found nothing.

    Returns:
        The shortfall, or None if nothing can run, or if the space is too large to search exhaustively, as that of a
        sampler may be.
    """
    try:
        least = smallest(space, solver)
    except TooManyStrategiesError:
        return None
    if least is None:
        return None
    if space.least.num_divisible(solver.cluster) > MOST_LOOKED_THROUGH:
        strategies = [least.strategy]
    else:
        strategies = [chain.least for chain in possible(space, solver)[0]]
    plan = plan_of(least, solver)
    components = plan.memory.components.model_dump()
    return Shortfall.model_construct(
        smallest=plan,
        moment=plan.memory.moment,
        term=max(components, key=lambda name: components[name]),
        over_bytes=max(0, plan.memory.process_bytes - plan.memory.budget_bytes),
        ways=tuple(ways_out(Variants(problem, space, solver), strategies, "fit")),
    )


def ways_of_one(problem: Problem, solver: Solver, candidate: Candidate, verb: str, beyond: int = 0) -> tuple[Way, ...]:
    """Returns the smallest sets of changes after which one configuration fits, by what they cost the user.

    Args:
        problem: The resolved request for this configuration alone.
        solver: A solver with its budget.
        candidate: The configuration, which does not fit.
        verb: The command whose request this is: `estimate` or `verify`.
        beyond: Bytes that the process is known to take beyond what the memory model says.
    """
    space = Space(**{name: (value,) for name, value in candidate.strategy.to_options().items()})
    variants = Variants(problem, space, solver, beyond)
    return tuple(ways_out(variants, [candidate.strategy], verb))


def ways_among(variants: Variants, strategies: Sequence[Strategy], held: frozenset[str]) -> tuple[Candidate, list[Way]]:
    """Returns the smallest of strategies that do not fit, and the ways out that leave some options as they are.

    Args:
        variants: The request of the search.
        strategies: Strategies that can run; at least one.
        held: Options that have to keep their values.
    """
    solver = variants.changed({}).solver
    candidates = (solver.candidate(strategy, solver.smallest_micro_batch, 1) for strategy in strategies)
    least = min(candidates, key=lambda candidate: candidate.process_bytes)
    return least, ways_out(variants, strategies, "fit", held)

"""Finds one change that would help much where something fits already.

A change helps much if it doubles the largest effective batch that each GPU has, without slowing a token down, or if it
makes the plan to run faster by a third. More GPUs count for what each of them then does: twice as many make
twice the batch of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from planner.advice.changes import SLOWER, Change, told_cost
from planner.advice.machines import more_gpus
from planner.advice.spelled import changed_options, command_of
from planner.advice.techniques import changes_from, values_of
from planner.advice.variants import Variant, Variants
from planner.answers.plans import plan_of
from planner.answers.settled import at_most, settled
from planner.answers.usual import at_usual_batch
from planner.problem.problem import Problem
from planner.records.advice import Cost, Way
from planner.search import Candidate, Found, Solver
from strategies import Allocator, ContradictionError, Objective, Space, Strategy

MUCH_LARGER = 2
"""Times the effective batch per GPU from which on it is much larger."""
MUCH_SHORTER = Fraction(3, 4)
"""Share of the time per token up to which a step is much faster: by a third."""
MOST_LOOKED_THROUGH = 1_000
"""Largest space, in strategies, for which one more change is looked for; users with a larger one have looked around."""
_WITHOUT_LOSS = (Cost.FLAG, Cost.PACKAGE)
"""Costs of changes that leave what is trained, on what and where as it is."""
_HELPFUL = frozenset({"kernels", "loss", "checkpointing", "optimizer"})
"""Options whose change can help a plan that fits. Others move work to the host, or save little."""


class _Gain(NamedTuple):
    """Holds what a change brings: the candidate that shows it, and how many times as much that is."""

    candidate: Candidate
    solver: Solver
    relative_time: float
    times: float
    is_batch: bool
    accumulates_more: bool = False
    """Whether the change also lets more passes follow each other than there are now."""

    @property
    def share(self) -> float:
        """Returns the gain over the least that is much."""
        return self.times / (MUCH_LARGER if self.is_batch else float(1 / MUCH_SHORTER))

    @property
    def words(self) -> str:
        """Returns what it brings, in words."""
        if self.is_batch:
            each = " of each GPU" if self.solver.cluster.world_size > 1 else ""
            if self.accumulates_more:
                return f"{self.times:.1f} x the micro-batch{each}, {self.candidate.micro_batch_size:,}"
            return f"{self.times:.1f} x the batch{each}, {self.candidate.global_batch_size:,}"
        speed = self.solver.model.real_tokens * self.candidate.global_batch_size / self.candidate.seconds
        return f"{self.times:.1f} x the speed, {speed:,.0f} tokens/s"


class _Now(NamedTuple):
    """Holds what there is without a change: the plan to run, and the largest batch of its method."""

    run: Candidate
    largest: Candidate
    ranks: int
    bounded: bool

    def gains(self, variant: Variant) -> Iterator[_Gain]:
        """Yields what a changed request brings that is much, for the strategies near the plan to run."""
        solver = at_usual_batch(variant.solver, bounded=self.bounded) or variant.solver
        more = variant.solver.cluster.world_size / self.ranks
        for strategy in variant.strategies(self.run.strategy):
            fast = _served(strategy, solver, lambda c: more * _relative(c, self.run) <= MUCH_SHORTER)
            if fast is not None and (share := more * _relative(fast, self.run)) <= MUCH_SHORTER:
                yield _Gain(fast, solver, share, 1 / share, False)
            if variant.solver.order.objective is not Objective.BATCH or solver is variant.solver:
                continue
            large = _served(strategy, variant.solver, lambda c: self._times(c, more) >= MUCH_LARGER)
            if large is None or (share := more * _relative(large, self.largest)) > SLOWER:
                continue
            times = self._times(large, more)
            if times >= MUCH_LARGER:
                is_more = large.gradient_accumulation_steps > self.largest.gradient_accumulation_steps
                yield _Gain(large, variant.solver, share, times, True, is_more)

    def _times(self, candidate: Candidate, more: float) -> float:
        """Returns how many times the largest batch of each GPU a candidate's is, on so many times as many GPUs.

        What only accumulates more is no larger: as many passes fill an epoch, and each GPU has room for as little.
        """
        batch = candidate.global_batch_size / self.largest.global_batch_size / more
        return min(batch, candidate.micro_batch_size / self.largest.micro_batch_size)


def step_more(
    problem: Problem, space: Space, solver: Solver, found: Found, run: Candidate, *, bounded: bool
) -> Way | None:
    """Returns the cheapest change that would help much, of those that help most; None if there is none.

    Args:
        problem: The resolved request.
        space: What was searched.
        solver: Its solver.
        found: What was found, something that fits among it.
        run: The candidate to run.
        bounded: Whether the user bounds the accumulation steps.
    """
    if solver.order.objective is Objective.MEMORY or solver.limits.bind:
        return None
    if space.least.num_divisible(solver.cluster) > MOST_LOOKED_THROUGH:
        return None
    method = run.strategy.finetuning.method
    alike = (one for one in found.ranking.best_by_method() if one.strategy.finetuning.method is method)
    now = _Now(run, next(alike, run), solver.cluster.world_size, bounded)
    variants = Variants(problem, space, solver)
    known = changes_from(values_of(chain.least for chain in found.chains))
    of_flags = [c for c in known if c.cost in _WITHOUT_LOSS and not c.but and c.options.keys() <= _HELPFUL]
    return _best(variants, now, of_flags) or _best(variants, now, _twice_the_gpus(variants, now))


def _best(variants: Variants, now: _Now, changes: Iterable[Change]) -> Way | None:
    """Returns the change that helps much at the least cost, and of these the one that helps most."""
    helping: list[tuple[int, float, Change, Variant, _Gain]] = []
    for change in changes:
        try:
            variant = variants.changed(change.options)
        except ContradictionError:
            continue
        gain = max(now.gains(variant), key=lambda gain: gain.share, default=None)
        if gain is not None:
            helping.append((change.cost.place, -gain.share, change, variant, gain))
    if not helping:
        return None
    *_, change, variant, gain = min(helping, key=lambda one: one[:2])
    return Way.model_construct(
        change=change.words,
        options=changed_options(variants.problem.request, dict(change.options)),
        cost=told_cost((change,), gain.relative_time),
        price="; ".join(text for text in (_needs(change), change.but) if text),
        gain=gain.words,
        command=command_of("fit", variant.problem),
        plan=plan_of(gain.candidate, gain.solver),
        relative_time=gain.relative_time,
    )


def _twice_the_gpus(variants: Variants, now: _Now) -> Iterator[Change]:
    """Yields twice the GPUs, where they can double what each has room for.

    They divide at most what is there whatever the batch: parameters, gradients and states. What is left for samples
    doubles only if half of that is as much as is left now: if it takes two thirds of the budget.
    """
    footprint = now.run.footprint
    fixed = footprint.persistent.total + footprint.peak(now.run.micro_batch_size).line.gradients
    if 3 * fixed >= 2 * variants.solver.budget_bytes:
        yield from list(more_gpus(variants))[:1]


def _needs(change: Change) -> str:
    """Returns what has to be installed, unless the change says so by its name."""
    return f"needs {change.needs}" if change.needs and change.needs not in change.words else ""


def _served(strategy: Strategy, solver: Solver, helps: Callable[[Candidate], bool]) -> Candidate | None:
    """Returns the best candidate of a strategy that fits, by the allocator's model where no closed form decides.

    Args:
        strategy: The strategy.
        solver: The solver of the changed request.
        helps: Whether a candidate would help: one that only the allocator's model decides is left undecided, and None
            returned, if not even the largest that allocated bytes leave room for would.
    """
    candidate = solver.solve(strategy)
    if candidate is None or strategy.allocator is not Allocator.NATIVE:
        return candidate
    most = at_most(candidate, solver)
    return settled(candidate, solver) if most is not None and helps(most) else None


def _relative(candidate: Candidate, other: Candidate) -> float:
    """Returns the time of a sample, all GPUs together, over that of another candidate."""
    return candidate.seconds_per_sample / other.seconds_per_sample

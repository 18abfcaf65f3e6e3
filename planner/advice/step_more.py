"""Finds one change that would help much where something fits already.

A change helps much if the weights of the plan to run are no longer rounded by it, if it doubles the largest effective
batch that each GPU has, without slowing a token down, or if it makes the plan to run faster by a third. None of them
puts convergence at more risk. More GPUs count for what each of them then does: twice as many make twice the batch of
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from planner.advice.changes import SLOWER, Change, told_cost
from planner.advice.machines import more_gpus
from planner.advice.spelled import changed_options, command_of
from planner.advice.techniques import UNROUNDED, changes_from, values_of
from planner.advice.variants import Variant, Variants
from planner.answers.plans import plan_of
from planner.answers.settled import at_most, settled
from planner.answers.usual import at_usual_batch
from planner.problem.problem import Problem
from planner.records.advice import Cost, Way
from planner.search import Candidate, Found, Solver
from strategies import Allocator, ContradictionError, Objective, Space, Strategy, rounds_updates

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
    """Holds what a change brings.

    Attributes:
        candidate: The candidate that shows it.
        solver: Its solver.
        relative_time: Its time per token over that of the plan it is compared with.
        share: The gain over the least that is much.
        words: What it brings, in words.
    """

    candidate: Candidate
    solver: Solver
    relative_time: float
    share: float
    words: str

    @classmethod
    def of_speed(cls, candidate: Candidate, solver: Solver, relative_time: float) -> _Gain:
        """Returns the gain of a faster plan."""
        words = f"{1 / relative_time:.1f} x the speed, {_tokens_per_second(candidate, solver):,.0f} tokens/s"
        return cls(candidate, solver, relative_time, float(MUCH_SHORTER) / relative_time, words)

    @classmethod
    def of_batch(
        cls, candidate: Candidate, solver: Solver, relative_time: float, times: float, *, accumulates_more: bool
    ) -> _Gain:
        """Returns the gain of a batch that is `times` as large; of the micro-batch where more passes accumulate."""
        each = " of each GPU" if solver.cluster.world_size > 1 else ""
        words = f"{times:.1f} x the batch{each}, {candidate.global_batch_size:,}"
        if accumulates_more:
            words = f"{times:.1f} x the micro-batch{each}, {candidate.micro_batch_size:,}"
        return cls(candidate, solver, relative_time, times / MUCH_LARGER, words)

    @classmethod
    def of_quality(cls, candidate: Candidate, solver: Solver, relative_time: float) -> _Gain:
        """Returns the gain of a plan that rounds no updates away, as much as any other one does."""
        words = f"no update is rounded away, at {_tokens_per_second(candidate, solver):,.0f} tokens/s"
        return cls(candidate, solver, relative_time, 1.0, words)


class _Now(NamedTuple):
    """Holds what there is without a change: the plan to run, and the largest batch of its method."""

    run: Candidate
    largest: Candidate
    ranks: int
    bounded: bool

    def unrounded(self, variant: Variant) -> Iterator[_Gain]:
        """Yields plans of a changed request that put convergence at less risk, and are not slower by more than a third.

        The strategies are those near the plan to run.
        """
        solver, risks = self._at_usual_batch(variant), variant.solver.order.risks
        for strategy in variant.strategies(self.run.strategy):
            found = solver.solve(strategy) if risks(strategy) < risks(self.run.strategy) else None
            if found is not None and (relative := _relative(found, self.run)) <= 1 / MUCH_SHORTER:
                yield _Gain.of_quality(found, solver, relative)

    def gains(self, variant: Variant) -> Iterator[_Gain]:
        """Yields what a changed request brings that is much, for the strategies near the plan to run."""
        solver, risks = self._at_usual_batch(variant), variant.solver.order.risks
        more = variant.solver.cluster.world_size / self.ranks
        for strategy in variant.strategies(self.run.strategy):
            fast = _served(strategy, solver, lambda c: more * _relative(c, self.run) <= MUCH_SHORTER)
            if fast is not None and (relative := more * _relative(fast, self.run)) <= MUCH_SHORTER:
                yield _Gain.of_speed(fast, solver, relative)
            if variant.solver.order.objective is not Objective.BATCH or solver is variant.solver:
                continue
            if risks(strategy) > risks(self.largest.strategy):  # what it is compared with has fewer
                continue
            large = _served(strategy, variant.solver, lambda c: self._is_much_larger(c, more))
            if large is not None and self._is_much_larger(large, more):
                share, times = more * _relative(large, self.largest), self._times(large, more)
                is_more = large.gradient_accumulation_steps > self.largest.gradient_accumulation_steps
                yield _Gain.of_batch(large, variant.solver, share, times, accumulates_more=is_more)

    def _is_much_larger(self, candidate: Candidate, more: float) -> bool:
        """Returns whether a candidate has a much larger batch per GPU, without slowing a token down.

        One that accumulates as many samples as the plan to run is none.
        """
        if self._times(candidate, more) < MUCH_LARGER or candidate.global_batch_size <= self.run.global_batch_size:
            return False
        return more * _relative(candidate, self.largest) <= SLOWER

    def _at_usual_batch(self, variant: Variant) -> Solver:
        return at_usual_batch(variant.solver, bounded=self.bounded) or variant.solver

    def _times(self, candidate: Candidate, more: float) -> float:
        """Returns the ratio of a candidate's batch per GPU to that of the largest one found.

        A candidate that only accumulates more steps counts as no larger: an epoch takes as many passes, and a GPU has
        no more room.

        Args:
            candidate: The candidate.
            more: Ratio of its number of GPUs to that of the request.
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
    rounds = rounds_updates(run.strategy) and solver.order.risks(run.strategy) > 0
    if rounds and (way := _best(variants, UNROUNDED, now.unrounded)) is not None:
        return way
    known = changes_from(values_of(chain.least for chain in found.chains))
    of_flags = [c for c in known if c.cost in _WITHOUT_LOSS and not c.but and c.options.keys() <= _HELPFUL]
    return _best(variants, of_flags, now.gains) or _best(variants, _twice_the_gpus(variants, now), now.gains)


def _best(variants: Variants, changes: Iterable[Change], gains: Callable[[Variant], Iterator[_Gain]]) -> Way | None:
    """Returns the change that helps much at the least cost, and of these the one that helps most."""
    helping: list[tuple[int, float, Change, Variant, _Gain]] = []
    for change in sorted(changes, key=lambda change: change.cost.place):
        if helping and change.cost.place > helping[0][0]:
            break  # it costs more than one that helps
        try:
            variant = variants.changed(change.options)
        except ContradictionError:
            continue
        gain = max(gains(variant), key=lambda gain: gain.share, default=None)
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


def _tokens_per_second(candidate: Candidate, solver: Solver) -> float:
    return solver.model.real_tokens * candidate.global_batch_size / candidate.seconds


def _relative(candidate: Candidate, other: Candidate) -> float:
    """Returns the time of a sample, all GPUs together, over that of another candidate."""
    return candidate.seconds_per_sample / other.seconds_per_sample

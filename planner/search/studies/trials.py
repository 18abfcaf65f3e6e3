"""Runs the trials of a study: solves each strategy exactly, and says what the sampler is told about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from hardware import GIB
from planner.search.candidate import Candidate
from planner.search.engine import DOES_NOT_FIT
from planner.search.pareto import candidates_of, front_of
from planner.search.solver import Solver
from planner.search.studies.objectives import SPEED, missing_gib, objectives, readable
from planner.search.studies.suggest import Suggestion
from strategies import Space, Strategy, violation

CANNOT_RUN = 2.0**20
"""Value of the constraint for a strategy that cannot run: more GiB than are ever missing."""


class Trial(NamedTuple):
    """Holds the result of a strategy that was tried.

    Attributes:
        strategy: The strategy.
        candidate: Its best candidate, or None if none fits.
        missing_gib: GiB above the budget, negative if it fits; `CANNOT_RUN` if it cannot run.
    """

    strategy: Strategy
    candidate: Candidate | None
    reason: str | None
    """Why it cannot run; None if it can, whether it fits or not."""
    missing_gib: float


class TrialRunner:
    """Tries suggested strategies, and solves each of them once.

    Args:
        space: The space that suggestions come from.
        solver: Solves strategies.
        fills: Whether a trial chooses micro-batch and accumulation steps, on the strategy's own front.
        known: A runner of the same space, whose solutions are reused.
    """

    def __init__(self, space: Space, solver: Solver, *, fills: bool, known: TrialRunner | None = None) -> None:
        self.space, self.solver = space, solver
        self.fills = fills
        self._known: dict[Strategy, Trial] = known._known if known is not None else {}
        self._solved: dict[Strategy, Trial] = {}
        self._fronts: dict[Strategy, list[Candidate]] = known._fronts if known is not None else {}
        self._filled: dict[tuple[Strategy, int], Trial] = {}

    @property
    def num_strategies(self) -> int:
        """Returns the number of different strategies that were tried."""
        return len(self._solved)

    @property
    def candidates(self) -> list[Candidate]:
        """Returns the candidates that fit."""
        found = (self._filled if self.fills else self._solved).values()
        return [trial.candidate for trial in found if trial.candidate is not None]

    @property
    def rejected(self) -> Counter[str]:
        """Returns the number of strategies without a candidate, by reason."""
        return Counter(t.reason or DOES_NOT_FIT for t in self._solved.values() if t.candidate is None)

    def of(self, suggestion: Suggestion) -> Trial:
        """Returns the result of the strategy, and of the place on its own front, that are suggested."""
        strategy = suggestion.strategy(self.space, self.solver.cluster.gpu)
        if strategy not in self._known:
            self._known[strategy] = _tried(strategy, self.solver)
        trial = self._solved[strategy] = self._known[strategy]
        if not self.fills or trial.candidate is None:
            return trial
        return self._filled_by(strategy, suggestion.filling())

    def _filled_by(self, strategy: Strategy, filling: float) -> Trial:
        """Returns the result at a place of the strategy's own front of batch, speed and memory.

        Args:
            strategy: A strategy that fits.
            filling: The place, from the smallest batch at 0 to the largest one at 1.
        """
        if strategy not in self._fronts:
            self._fronts[strategy] = front_of(candidates_of(strategy, self.solver))[::-1]
        own = self._fronts[strategy]
        place = round(filling * (len(own) - 1))
        if (strategy, place) not in self._filled:
            candidate = own[place]
            self._filled[strategy, place] = Trial(strategy, candidate, None, missing_gib(candidate, self.solver))
        return self._filled[strategy, place]


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Returns the Pareto front of candidates with no more risks than necessary, those of the largest batch first."""
    fewest = min((c.order.risks(c.strategy) for c in candidates), default=0)
    return front_of(c for c in candidates if c.order.risks(c.strategy) == fewest)


def _tried(strategy: Strategy, solver: Solver) -> Trial:
    if reason := violation(strategy, solver.cluster) or solver.model.violation(strategy):
        return Trial(strategy, None, reason, CANNOT_RUN)
    if (candidate := solver.solve(strategy)) is not None:
        return Trial(strategy, candidate, None, missing_gib(candidate, solver))
    least = solver.candidate(strategy, solver.smallest_micro_batch, 1)
    # A strategy that fits but has no candidate cannot make the batch that is wanted: it must violate the constraint.
    return Trial(strategy, None, None, max(missing_gib(least, solver), 1 / GIB))


def attributes(found: Trial, solver: Solver) -> dict[str, Any]:
    """Returns what a dashboard shows in addition to the parameters."""
    candidate = found.candidate
    if candidate is None:
        return {"fits": False, "reason": found.reason or DOES_NOT_FIT}
    return {
        "fits": True,
        "effective batch": candidate.global_batch_size,
        "micro-batch": candidate.micro_batch_size,
        "accumulation": candidate.gradient_accumulation_steps,
        "GiB": round(candidate.process_bytes / GIB, 2),
        "tokens per second": readable(objectives(candidate, solver))[SPEED],
    }

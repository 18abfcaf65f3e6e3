"""Says which of two plans is nearly the same as a better one, so that a list has room for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strategies import Strategy

if TYPE_CHECKING:
    from planner.search.candidate import Candidate

NOTICED = 0.05
"""Share by which a plan has to be better in something to be noticed: less than the error of predicted times."""


class Numbers(NamedTuple):
    """Holds what tells plans apart."""

    strategy: Strategy
    global_batch_size: int
    seconds: float
    """Seconds of a step."""

    @classmethod
    def of(cls, candidate: Candidate) -> Numbers:
        """Returns the numbers of a candidate."""
        return cls(candidate.strategy, candidate.global_batch_size, candidate.seconds)

    @property
    def kind(self) -> tuple[object, ...]:
        """Returns the choices that people tell plans apart by, whatever their numbers."""
        s = self.strategy
        return s.finetuning.method, s.precision, s.optimizer, s.checkpointing.choice


def alike(plan: Numbers, better: Numbers) -> bool:
    """Returns whether a plan is of the same kind as a better one, and in nothing noticeably better.

    It is neither larger in its batch nor faster per sample by `NOTICED`. Memory does not count, since every plan takes
    less of it with a smaller micro-batch.
    """
    more = 1 + NOTICED
    return (
        plan.kind == better.kind
        and plan.global_batch_size < better.global_batch_size * more
        and plan.global_batch_size / plan.seconds < better.global_batch_size / better.seconds * more
    )

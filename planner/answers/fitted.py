"""Makes the answer of `fit` of what a search has found: the plans that it lists, and the one to run among them."""

from __future__ import annotations

from typing import NamedTuple

from planner.answers.notes.notes import notes_for
from planner.answers.plans import plan_of
from planner.answers.usual import fastest_of, usual_of
from planner.problem.goal import notes_on_price
from planner.problem.problem import Problem
from planner.records.result import FitResult, Searched
from planner.records.verification import Verification
from planner.search import Candidate, EngineSettings, Found, Solver
from strategies import Engine, Lora


class Listed(NamedTuple):
    """Holds the candidates that an answer lists.

    Attributes:
        first: The best ones.
        best: The best one of each fine-tuning method.
        usual: The fastest one of each method at a usual effective batch.
        fastest: The fastest one of all, where limits of the run leave none.
    """

    first: tuple[Candidate, ...]
    best: tuple[Candidate, ...]
    usual: tuple[Candidate, ...]
    fastest: Candidate | None

    @classmethod
    def of(cls, found: Found, solver: Solver, top: int, *, bounded: bool) -> Listed:
        """Lists candidates of a search.

        Args:
            found: What the search has found.
            solver: The solver that found it.
            top: Number of the best ones.
            bounded: Whether the caller, or the task, bounds accumulation.
        """
        first, best = found.ranking.recommended(top), found.ranking.best_by_method()
        usual = usual_of(found, solver, bounded=bounded)
        fastest = fastest_of(found, solver) if solver.limits.bind and not found.ranking else None
        return cls(tuple(first), tuple(best), tuple(usual), fastest)

    def run_of(self, answer: FitResult) -> Candidate:
        """Returns the candidate of the plan to run of an answer that lists these and has one."""
        pairs = zip((*self.first, *self.usual), (*answer.plans, *answer.usual), strict=True)
        return next(candidate for candidate, plan in pairs if plan is answer.recommended)


def answer_of(
    problem: Problem,
    solver: Solver,
    found: Found,
    listed: Listed,
    settings: EngineSettings,
    *,
    pareto: bool,
    verification: Verification | None,
) -> FitResult:
    """Returns the answer without advice.

    Args:
        problem: What was asked.
        solver: The solver that searched.
        found: What it found.
        listed: What the answer lists of it.
        settings: The engine and its settings.
        pareto: Whether the answer has the front.
        verification: That of the best plan, where one is asked for.
    """
    first, best, usual, fastest = listed
    every = (*first, *best, *usual, *((fastest,) if fastest else ()))
    of_lora = [c.global_batch_size for c in every if isinstance(c.strategy.finetuning, Lora)]
    answer = FitResult.model_construct(
        request=problem.request,
        plans=tuple(plan_of(c, solver) for c in first),
        best_by_method=tuple(plan_of(c, solver) for c in best),
        usual=tuple(plan_of(c, solver) for c in usual),
        front=tuple(plan_of(c, solver, serves=False) for c in (_front(found, solver) if pareto else ())),
        searched=Searched.model_construct(
            strategies=found.num_strategies,
            feasible=len(found.ranking),
            seconds=found.seconds,
            engine=settings.engine,
            sampler=settings.sampler if settings.engine is Engine.OPTUNA else None,
            trials=found.num_trials,
        ),
        rejected=dict(found.rejected),
        notes=(*notes_on_price(problem), *notes_for(problem, [c.strategy for c in every], max(of_lora, default=0))),
        fastest=None if fastest is None else plan_of(fastest, solver),
        verification=verification,
    )
    if not answer.plans:
        return answer
    told = notes_for(problem, [answer.recommended.strategy.strategy()])
    return answer.model_copy(update={"to_run": answer.numbered()(answer.recommended), "plan_notes": told})


def _front(found: Found, solver: Solver) -> list[Candidate]:
    """Returns the Pareto front of a search."""
    from planner.search.pareto import pareto  # only where it is asked for

    return pareto(found.chains, solver)

"""Says why no plan with some value of an option comes first: what beats it, or what it lacks and what would help."""

from __future__ import annotations

from typing import Any

from hardware import GIB, PlannerError
from hardware.errors import shown
from planner.advice.shortfall import ways_among
from planner.advice.variants import Variant, Variants
from planner.answers.plans import plan_of
from planner.problem.problem import Problem
from planner.records.advice import Fate, WhyNot
from planner.records.asked.axes import RequestError, parse_option, without_aliases
from planner.search import Candidate, Solver
from planner.search.exhaustive import possible
from strategies import OPTIONS, ContradictionError, InvalidChoiceError, Space


def why_not(
    problem: Problem, space: Space, solver: Solver, first: Candidate | None, run: Candidate | None, asked: str
) -> WhyNot:
    """Says why no plan with a value of an option comes first.

    Args:
        problem: The resolved request of the search.
        space: The space that was searched.
        solver: The solver that searched it.
        first: The plan that comes first; None if nothing fits.
        run: The plan that the answer says to run, which may be one at a usual batch; None if nothing fits.
        asked: The option and its value, `checkpointing=none`.

    Raises:
        RequestError: That is no option with a value.
        InvalidChoiceError: There is no such option or choice.
    """
    values = _parsed(asked)
    name, _, text = asked.partition("=")
    told: dict[str, Any] = {"option": name.strip(), "value": text.strip()}
    variant = Variants(problem, space, solver).changed(values)
    strategies = list(variant.strategies())
    if not strategies:
        return WhyNot.model_construct(None, **told, fate=Fate.CANNOT_RUN, says=f"{_reason(variant)}.")
    solved = [candidate for strategy in strategies if (candidate := variant.solver.solve(strategy)) is not None]
    if solved:
        best = min(solved, key=lambda candidate: candidate.rank)
        plan, compared = plan_of(best, variant.solver), ""
        if first is not None and best.strategy != first.strategy:
            compared = _compared(best, first, variant.solver)
        if first is not None and first.rank < best.rank:
            if run is not None and any(run.strategy == strategy for strategy in strategies):
                compared = f"{compared.removesuffix('.')}; the plan to run, of a usual batch, has it."
            return WhyNot.model_construct(None, **told, fate=Fate.BEATEN, says=compared, plan=plan)
        says = f"it was not searched; {compared}" if compared else "it is that of the first plan."
        return WhyNot.model_construct(None, **told, fate=Fate.FIRST, says=says, plan=plan)
    least, ways = ways_among(Variants(variant.problem, variant.space(), variant.solver), strategies, frozenset(values))
    plan = plan_of(least, variant.solver)
    memory, components = plan.memory, plan.memory.components.model_dump()
    over, term = max(0, memory.process_bytes - memory.budget_bytes), max(components, key=lambda key: components[key])
    says = (
        f"its smallest plan takes {memory.process_bytes / GIB:.1f} GiB, {over / GIB:.1f} more than the budget of "
        f"{memory.budget_bytes / GIB:.1f}, at {memory.moment.replace('_', ' ')}, where {term.replace('_', ' ')} take "
        f"the most: {components[term] / GIB:.1f}."
    )
    told |= {"says": says, "moment": memory.moment, "term": term}
    return WhyNot.model_construct(None, **told, fate=Fate.DOES_NOT_FIT, plan=plan, over_bytes=over, ways=tuple(ways))


def _parsed(asked: str) -> dict[str, object]:
    """Returns the value of each option that `key=value` says; an alias of the sharding says several."""
    key, equals, text = asked.partition("=") if isinstance(asked, str) else ("", "", "")
    name = key.strip().replace("-", "_")
    if not equals:
        raise RequestError(f"why_not is {shown(asked)}, not an option with its value", "--why-not checkpointing=none")
    if name not in OPTIONS:
        raise InvalidChoiceError("option", key.strip(), OPTIONS)
    found: dict[str, object] = {}
    for option, said in without_aliases({name: text.strip()}).items():
        values = parse_option(OPTIONS[option], said)
        if len(values) != 1:
            raise RequestError(f"why_not is {shown(asked)}, which are {len(values)} values", "ask for one at a time")
        found[option] = values[0]
    return found


def _reason(variant: Variant) -> str:
    """Returns the reason for which most of the strategies cannot run."""
    try:
        _, rejected = possible(variant.space(), variant.solver)
    except ContradictionError as error:
        return error.message
    except PlannerError as error:
        return str(error)
    reasons = rejected.most_common(1)
    return reasons[0][0] if reasons else "no method that is searched has that option"


def _compared(best: Candidate, first: Candidate, solver: Solver) -> str:
    """Returns how the best plan with the value differs from the plan that comes first."""

    def of(candidate: Candidate) -> str:
        speed = candidate.global_batch_size * solver.model.real_tokens / candidate.seconds
        size = candidate.process_bytes / GIB
        return f"an effective batch of {candidate.global_batch_size:,}, {speed:,.0f} tokens/s and {size:.1f} GiB"

    return f"its best plan has {of(best)}; the first one has {of(first)}."

"""Spells a set of changes for its user: in words, as options, and as a command that works when it is pasted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.advice.changes import options_of, told_cost
from planner.advice.variants import Variants
from planner.answers.commands import fit_command, spelled
from planner.answers.plans import plan_of
from planner.answers.settled import settled
from planner.problem.problem import Problem
from planner.records.advice import Way
from planner.records.asked.request import Request
from planner.records.asked.sizes import spelled_bytes
from planner.search import Candidate, Solver
from strategies import Allocator

if TYPE_CHECKING:
    from planner.advice.minimal import Found
    from planner.advice.trials import Trial


def spelled_way(variants: Variants, found: Found, least: Trial, verb: str) -> Way | None:
    """Returns changes as they are told; None if the allocator's model says that nothing fits with them after all.

    Args:
        variants: The request that the changes are of.
        found: The changes, and the strategy that fits with them.
        least: The smallest plan without them.
        verb: The command whose request this is.
    """
    changes, trial, _ = found
    options = options_of(changes)
    solved = _best(variants, found)
    if solved is None:
        return None
    relative = trial.seconds_per_token() / least.seconds_per_token()
    cost = told_cost(changes, relative)
    variant = variants.changed(options)
    return Way.model_construct(
        change=" and ".join(change.words for change in changes),
        options=changed_options(variants.problem.request, options),
        cost=cost,
        price="; ".join(_prices(found, None if variants.is_search else relative)),
        command=command_of(verb, variant.problem),
        plan=plan_of(*solved),
        relative_time=relative,
    )


def _best(variants: Variants, found: Found) -> tuple[Candidate, Solver] | None:
    """Returns the best candidate of the strategies that fit, or the configuration asked for, and its solver."""
    if not variants.is_search:
        return found.trial.candidate(), found.trial.solver
    trials = (found.trial, *found.others)
    solved = ((trial.solver.solve(trial.strategy), trial.solver) for trial in trials)
    known = [(candidate, solver) for candidate, solver in solved if candidate is not None]
    candidate, solver = min(known, key=lambda item: item[0].rank)
    if candidate.strategy.allocator is Allocator.NATIVE:
        decided = settled(candidate, solver)
        return (decided, solver) if decided is not None else None
    return candidate, solver


def _prices(found: Found, relative: float | None) -> Iterator[str]:
    """Yields what changes cost in words, each once.

    Args:
        found: The changes.
        relative: Time per token over that of the configuration asked for; None for a search, whose smallest plan nobody
            has asked for.
    """
    needs = dict.fromkeys(change.needs for change in found.changes if change.needs)
    if needs:
        yield f"needs {' and '.join(needs)}"
    yield from dict.fromkeys(change.but for change in found.changes if change.but)
    if relative is not None and (text := speed(relative)) is not None:
        yield text


def speed(relative: float) -> str | None:
    """Returns in words how a time per token compares to that without the change; None where they are alike."""
    if abs(relative - 1) < 0.02:
        return None
    if relative >= 2:
        return f"a token takes {relative:.1f} times as long"
    if relative <= 0.5:
        return f"{1 / relative:.1f} times as fast" if relative > 0.1 else f"{1 / relative:.0f} times as fast"
    return f"a token takes {abs(relative - 1):.0%} {'more' if relative > 1 else 'less'} time"


def command_of(verb: str, problem: Problem) -> str:
    """Returns the command that makes a request, quoted for a shell; what has its default value is left out.

    Args:
        verb: `fit`, `estimate` or `verify`.
        problem: The resolved request, of a search or of one configuration.
    """
    command = fit_command(problem) if verb == "fit" else f"planner {verb} {spelled(problem)}"
    source = problem.catalog_source
    return f"{command} --catalog {shlex.quote(str(source))}" if isinstance(source, str | Path) else command


def changed_options(request: Request, options: dict[str, Any]) -> dict[str, str | int]:
    """Returns changed options as the command line takes them, without those that have that value already."""
    found: dict[str, str | int] = {}
    for name, value in options.items():
        if name == "site":
            found["gpu"] = value.name
            if value.machine is None and value.gpus != request.gpus:
                found["gpus"] = value.gpus
        elif name == "host_memory_bytes":
            found["host-memory"] = spelled_bytes(value)
        elif getattr(request, name) != value:
            whole = isinstance(value, int) and not isinstance(value, bool)
            found[name.replace("_", "-")] = value if whole else str(value)
    return found

"""Says which changes of one option each make a configuration run that cannot."""

from __future__ import annotations

from collections.abc import Callable
from enum import EnumType
from typing import Any

from hardware import GPU
from planner.records.asked.request import Request
from strategies import OPTIONS, ContradictionError, Framework, Space

MOST_WAYS = 3
"""Number of changes that a hint names at most."""


def cannot_run(reason: str, ways: list[str], framework: Framework) -> ContradictionError:
    """Returns the error of a configuration that cannot run, with the changes after which it does, if one is enough."""
    hint = " or ".join(ways) or "choose another value for that axis"
    if not ways and framework is not Framework.TRANSFORMERS:
        hint += f", which may be one that {framework} sets"
    return ContradictionError(f"this configuration cannot run: {reason}", hint)


def ways_to_run(request: Request, space: Space, gpu: GPU, runs: Callable[[Request], bool]) -> list[str]:
    """Returns changes of one option each after which a configuration runs, as the command line spells them.

    Options that the request leaves open come first; those that it gives are tried only where no other is enough.

    Args:
        request: The request, whose configuration cannot run.
        space: The default space, whose values are tried before others.
        gpu: The GPU, on which the usual values of some options depend.
        runs: Says whether the configuration of a request can run.
    """
    closed = [name for name, option in OPTIONS.items() if isinstance(option.kind, EnumType)]
    given = [name for name in closed if getattr(request, name)]
    for names in ([name for name in closed if name not in given], given):
        ways = [way for name in names if (way := _way(request, name, space, gpu, runs))]
        if ways:
            return ways[:MOST_WAYS]
    return []


def _way(request: Request, name: str, space: Space, gpu: GPU, runs: Callable[[Request], bool]) -> str | None:
    """Returns the first value of an option with which a configuration runs, as the command line spells it."""
    usual = request.model_copy(update={name: ()}).within(space).searched(name, gpu)
    kind: Any = OPTIONS[name].kind
    for value in dict.fromkeys((*(value for values in usual.values() for value in values), *kind)):
        if getattr(request, name) != (value,) and runs(request.model_copy(update={name: (value,)})):
            return f"--{name.replace('_', '-')} {value}"
    return None

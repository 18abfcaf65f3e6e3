"""Spells a changed request as a command line, and what changed as its options."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from planner.answers.commands import fit_command, spelled
from planner.problem.problem import Problem
from planner.records.request import Request


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
            found["host-memory"] = f"{value // 10**9}GB"
        elif getattr(request, name) != value:
            whole = isinstance(value, int) and not isinstance(value, bool)
            found[name.replace("_", "-")] = value if whole else str(value)
    return found

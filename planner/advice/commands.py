"""Spells a resolved request as a command line that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from planner.problem.problem import Problem, default_length
from planner.records.request import Request, Workload
from strategies import DEFAULT_MAX_ACCUMULATION, OPTIONS

_SHORTEST_RANGE = 4
"""Fewest consecutive numbers that are spelled as a range."""


def command_of(verb: str, problem: Problem, beside: Sequence[str] = ()) -> str:
    """Returns the command that makes a request, quoted for a shell; what has its default value is left out.

    Args:
        verb: `fit`, `estimate` or `verify`.
        problem: The resolved request.
        beside: Further arguments.
    """
    words = ["planner", verb, problem.request.model, *_options(problem)]
    if isinstance(problem.catalog_source, str | Path):
        words += ["--catalog", str(problem.catalog_source)]
    return shlex.join([*words, *beside])


def option_name(name: str) -> str:
    """Returns the command line's name of an option, without its dashes."""
    return {"host_memory_bytes": "host-memory"}.get(name, name.replace("_", "-"))


def option_value(name: str, value: Any) -> str | int:
    """Returns the value of an option as the command line takes it."""
    if name == "host_memory_bytes":
        return f"{value // 10**9}GB" if value % 10**9 == 0 else f"{value}B"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _options(problem: Problem) -> Iterator[str]:
    request = problem.request
    yield from _said("gpu", request.machine or request.gpu)
    for name in ("gpus", "nodes"):
        if getattr(request, name) != 1 and not (name == "gpus" and request.machine):
            yield from _said(name, getattr(request, name))
    for name in _WORKLOAD:
        value = getattr(request, name)
        if not _is_default(problem, name, value):
            yield from _said(name, value)
    for size in request.micro_batch_size:
        if request.gradient_accumulation_steps is None or size != 1:
            yield from _said("micro_batch_size", size)
    for name in OPTIONS:
        values = getattr(request, name)
        for text in _spelled(values) if values and all(type(v) is int for v in values) else values:
            yield from _said(name, text)


_WORKLOAD = (
    "task",
    "sequence_length",
    "gradient_accumulation_steps",
    "max_accumulation",
    "global_batch_size",
    "evaluation_batch_size",
    "batching",
    "mean_length",
    "outputs",
    "headroom",
    "host_memory_bytes",
    "loading",
)


def _is_default(problem: Problem, name: str, value: Any) -> bool:
    if value is None:
        return True
    if name == "task":
        return not problem.task_asked
    if name == "sequence_length":
        return bool(value == default_length(problem.model))
    if name == "gradient_accumulation_steps":
        return bool(value == 1)
    if name == "max_accumulation":
        return bool(value == DEFAULT_MAX_ACCUMULATION)
    return bool(value == Workload.model_fields[name].default)


def _said(name: str, value: Any) -> tuple[str, str]:
    return f"--{option_name(name)}", str(option_value(name, value))


def _spelled(numbers: Sequence[int]) -> Iterator[str]:
    """Yields whole numbers, runs of consecutive ones as ranges."""
    run: list[int] = []
    for number in (*numbers, None):
        if run and (number is None or number != run[-1] + 1):
            yield from [f"{run[0]}..{run[-1]}"] if len(run) >= _SHORTEST_RANGE else map(str, run)
            run = []
        if number is not None:
            run.append(number)


def changed_options(request: Request, options: dict[str, Any]) -> dict[str, str | int]:
    """Returns changed options as the command line takes them, without those that have that value already."""
    found: dict[str, str | int] = {}
    for name, value in options.items():
        if name == "site":
            found["gpu"] = value.name
            if value.machine is None and value.gpus != request.gpus:
                found["gpus"] = value.gpus
        elif getattr(request, name) != value:
            found[option_name(name)] = option_value(name, value)
    return found

"""Writes a configuration as the arguments of a command, with nothing that the planner would fill in by itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from planner.models import Model
from planner.models.registry import recognize
from planner.models.tasks import task_of
from planner.problem.model import default_length
from planner.problem.one import options_of_one
from planner.problem.problem import Problem
from planner.records.asked.amounts import spelled_count, spelled_seconds, spelled_share
from planner.records.asked.request import Request
from planner.records.asked.sizes import spelled_bytes
from strategies import OPTIONS, Framework, Objective, Task

_BOUNDS = ("objective", "max_accumulation", "gradient_accumulation_steps", "global_batch_size", "tokens_per_step")
"""Fields of a request that say what a search looks for, and bound its batches."""
_RUN = {
    **{name: name for name in ("tokens", "samples", "epochs")},
    **{"deadline": "deadline_seconds", "budget": "budget_usd", "price": "gpu_usd_per_hour"},
}
"""Field of a request for each option that describes a run."""
_AS_THEY_STAND = (
    *("gpus", "nodes", "headroom", "loading", "outputs"),
    *("evaluation_batch_size", "batching", "mean_length", "target_length"),
)
"""Fields of a request whose options have their names."""
_AMOUNTS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("tokens", "samples", "tokens_per_step"), spelled_count),
    "deadline": spelled_seconds,
    "headroom": spelled_share,
}
"""How amounts are written, so that they are read as the same numbers."""


def spelled(problem: Problem) -> str:
    """Returns the arguments with which `planner estimate` and `planner verify` plan the same configuration.

    Args:
        problem: A resolved request for one configuration.
    """
    arguments = [problem.request.model, *_workload(problem)]
    for name, value in needed_options(problem).items():
        arguments += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(arguments)


def fit_command(problem: Problem, catalog: str | None = None) -> str:
    """Returns the command that searches what a request asks for, with a catalog file if there is one."""
    request, usual = problem.request, Request.model_fields
    found = ["planner", "fit", request.model, *_trained_where(problem)]
    for name in _BOUNDS:
        value = getattr(request, name)
        if value not in (None, usual[name].default, Objective.BATCH):
            found += [f"--{name.replace('_', '-')}", _AMOUNTS.get(name, str)(value)]
    found += [] if catalog is None else ["--catalog", catalog]
    for option, field in _RUN.items():
        if (value := getattr(request, field)) is not None:
            found += [f"--{option}", _AMOUNTS.get(option, "{:.12g}".format)(value)]
    for name, values in {"micro_batch_size": request.micro_batch_size, **request.given()}.items():
        for text in _spelled_values(values):
            found += [f"--{name.replace('_', '-')}", text]
    return shlex.join(found)


def _spelled_values(values: Sequence[Any]) -> Iterator[str]:
    """Yields values as the command line takes them, whole numbers that follow each other as ranges."""
    if not values or not all(type(value) is int for value in values):
        yield from (",".join(value) if isinstance(value, tuple) else str(value) for value in values)
        return
    first = last = values[0]
    for number in (*values[1:], None):
        if number == last + 1:
            last = number
            continue
        yield str(first) if first == last else f"{first}..{last}"
        first = last = number


def needed_options(problem: Problem) -> dict[str, Any]:
    """Returns the options of techniques without which the planner would choose others for this configuration."""
    request, space = problem.request, problem.default_space()
    whole = options_of_one(request, problem.cluster, space, problem.framework)
    needed = dict(whole)
    for name in whole:
        if name != "framework":  # which decides the defaults of others
            fewer = {option: value for option, value in needed.items() if option != name}
            if _filled_in(request, fewer, problem) == whole:
                needed = fewer
    if problem.framework is Framework.TRANSFORMERS:
        del needed["framework"]
    return needed


def _filled_in(request: Request, options: dict[str, Any], problem: Problem) -> dict[str, Any]:
    """Returns all options of the configuration that some of them describe."""
    said = {name: (options[name],) if name in options else () for name in OPTIONS}
    asked = request.model_copy(update=said)
    return options_of_one(asked, problem.cluster, problem.default_space(), problem.framework)


def _workload(problem: Problem) -> list[str]:
    """Returns the arguments that say what is trained, where, and in which batches, but those that are usual."""
    (size,), steps = problem.request.micro_batch_size, problem.request.gradient_accumulation_steps
    found = [*_trained_where(problem), "--micro-batch-size", str(size)]
    return [*found, "--gradient-accumulation-steps", str(steps)] if steps != 1 else found


def _trained_where(problem: Problem) -> list[str]:
    """Returns the arguments that say what is trained and where, but those that are usual."""
    request, usual = problem.request, Request.model_fields
    found = ["--gpu", request.machine or request.gpu]
    for name in _AS_THEY_STAND:
        value = getattr(request, name)
        if value is not None and value != usual[name].default and not (name == "gpus" and request.machine):
            found += [f"--{name.replace('_', '-')}", _AMOUNTS.get(name, str)(value)]
    if request.host_memory_bytes is not None:
        found += ["--host-memory", spelled_bytes(request.host_memory_bytes)]
    if request.sequence_length != default_length(problem.model):
        found += ["--sequence-length", str(request.sequence_length)]
    if request.task is not None and request.task != _usual_task(problem):
        found += ["--task", str(request.task)]
    return found


def _usual_task(problem: Problem) -> Task | None:
    """Returns the task that is planned where none is given; None where only the model's own code knows."""
    if not isinstance(problem.model, Model):
        return None
    found = recognize(problem.request.model, from_cache=True)
    return task_of(found)

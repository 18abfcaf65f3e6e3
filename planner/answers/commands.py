"""Writes a configuration as the arguments of a command, with nothing that the planner would fill in by itself."""

from __future__ import annotations

import shlex
from typing import Any

from planner.models import Model
from planner.models.registry import recognize
from planner.models.tasks import task_of
from planner.problem.one import options_of_one
from planner.problem.problem import Problem, default_length
from planner.records.request import Request
from strategies import OPTIONS, Framework, Task


def spelled(problem: Problem) -> str:
    """Returns the arguments with which `planner estimate` and `planner verify` plan the same configuration.

    Args:
        problem: A resolved request for one configuration.
    """
    arguments = [problem.request.model, *_workload(problem)]
    for name, value in needed_options(problem).items():
        arguments += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(arguments)


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
    request, usual = problem.request, Request.model_fields
    found = ["--gpu", request.gpu]
    for name in ("gpus", "nodes", "headroom", "loading", "evaluation_batch_size", "batching", "mean_length", "outputs"):
        value = getattr(request, name)
        if value is not None and value != usual[name].default:
            found += [f"--{name.replace('_', '-')}", str(value)]
    if request.host_memory_bytes is not None:
        found += ["--host-memory", f"{request.host_memory_bytes}B"]
    if request.sequence_length != default_length(problem.model):
        found += ["--sequence-length", str(request.sequence_length)]
    if request.task is not None and request.task != _usual_task(problem):
        found += ["--task", str(request.task)]
    (size,), steps = request.micro_batch_size, request.gradient_accumulation_steps
    found += ["--micro-batch-size", str(size)]
    return [*found, "--gradient-accumulation-steps", str(steps)] if steps != 1 else found


def _usual_task(problem: Problem) -> Task | None:
    """Returns the task that is planned where none is given; None where only the model's own code knows."""
    if not isinstance(problem.model, Model):
        return None
    found = recognize(problem.request.model, from_cache=True)
    return task_of(found)

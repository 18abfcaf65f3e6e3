"""Gives a model the head of the task that it is trained for."""

from __future__ import annotations

from dataclasses import replace

from hardware.errors import PlannerError
from planner.models.foreign import Foreign
from planner.models.model import Model
from strategies import Task

HEADS = (Task.SEQUENCE_CLASSIFICATION, Task.TOKEN_CLASSIFICATION, Task.MASKED_LM)
"""Tasks for which transformers has a class of each encoder, with names that differ in their ends alone."""


class TaskError(PlannerError):
    """Reports a task that a model cannot be planned for."""


def tasks_of(model: Model | Foreign) -> tuple[Task, ...]:
    """Returns what a model can be planned for, the usual task first; nothing where its code decides that."""
    if isinstance(model, Model):
        return model.architecture.tasks
    task = _of_foreign(model)
    return HEADS if task in HEADS else () if task is None else (task,)


def task_of(model: Model | Foreign) -> Task | None:
    """Returns what a model is trained to do, or None where its code decides that."""
    return model.architecture.task if isinstance(model, Model) else _of_foreign(model)


def usual(model: Model | Foreign) -> Model | Foreign:
    """Returns a model as it is usually trained.

    A file of an encoder names the class that it was pretrained as, a masked language model; people train another head.
    """
    return for_task(model, tasks_of(model)[0]) if task_of(model) is Task.MASKED_LM else model


def for_task(model: Model | Foreign, task: Task) -> Model | Foreign:
    """Returns a model with the head of a task.

    Raises:
        TaskError: The model has no such head, or nothing is known of it.
    """
    if task is task_of(model):
        return model
    known = tasks_of(model)
    if task not in known:
        planned = " or ".join(known)
        reason = f"{model.name} is planned for {planned} alone" if known else f"the code of {model.name} decides that"
        raise TaskError(f"task is {task}, but {reason}", f"--task {known[0]}" if known else "leave it out")
    if isinstance(model, Model):
        return replace(model, architecture=model.architecture.for_task(task))
    (name, *_), before = model.fields["architectures"], task_of(model)
    assert before is not None
    ending = next(ending for ending in before.facts.suffixes if name.endswith(ending))
    named = {"architectures": [name.removesuffix(ending) + task.facts.suffixes[0]]}
    return replace(model, source={**model.fields, **named}, num_parameters=None)


def _of_foreign(model: Foreign) -> Task | None:
    names = model.fields.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    task = Task.of_class(first) if isinstance(first, str) else None
    # A class without a head is no sign of a model of texts: CLIPModel and WhisperModel end so as well.
    return None if task is Task.CONTRASTIVE else task

"""Finds the model that a request means, and what says its memory: its family's forward pass, or replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hardware import Cluster
from planner.extras import Progress
from planner.memory import MemoryModel, StepMemory, TracedModel
from planner.models import Foreign, Model, recognize
from planner.models.tasks import for_task, task_of
from planner.records.asked.request import DEFAULT_SEQUENCE_LENGTH, Request
from strategies import ContradictionError, Outputs, Task

if TYPE_CHECKING:  # torch is imported only for models that are planned by replays
    from planner.profiles import ProfiledModel

AnyModel: TypeAlias = "Model | ProfiledModel"
"""Model of the registry's families, or one that is planned by replays."""


def found(model: str | Model | Foreign, task: str | None, progress: Progress) -> tuple[AnyModel, Task | None]:
    """Returns the model that a caller means, with the head of a task, and the task, where it is known.

    A model outside the registry's families is built to find out what it is.
    """
    if not isinstance(model, Model | Foreign):
        model = recognize(model)
    if task is not None:
        model = for_task(model, Task.parse(task))
    if isinstance(model, Model):
        return model, task_of(model)
    from planner.profiles import ProfiledModel

    return ProfiledModel.of(model, progress), task_of(model)


def step_memory_of(model: AnyModel, request: Request, cluster: Cluster) -> StepMemory:
    """Returns the model's memory on a cluster: derived for the registry's families, else from replays."""
    if isinstance(model, Model):
        traced = TracedModel(model.inventory, request.sequence_length, target_length=request.target_length)
        return MemoryModel(
            traced,
            cluster,
            evaluation_batch_size=request.evaluation_batch_size,
            batching=request.batching,
            mean_length=request.mean_length,
            loading=request.loading,
            outputs=request.outputs,
        )
    if request.outputs is not Outputs.RELEASED:
        raise ContradictionError(
            f"outputs={request.outputs}, but of {model.name} only a step is known whose loop releases them",
            f"--outputs {Outputs.RELEASED}",
        )
    from planner.profiles import ProfiledMemory

    return ProfiledMemory(
        model,
        request.sequence_length,
        cluster,
        evaluation_batch_size=request.evaluation_batch_size,
        target_length=request.target_length,
    )


def default_length(model: AnyModel) -> int:
    """Returns the default tokens per sequence: 2048, or all positions if fewer, or the samples' only length."""
    if model.tokens_per_sample is not None:
        return model.tokens_per_sample
    return min(DEFAULT_SEQUENCE_LENGTH, model.usual_length or DEFAULT_SEQUENCE_LENGTH)

"""Defines the base class of models whose file names what they are trained for: encoders, and classifiers of images."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from planner.models.architecture import Architecture, Size
from strategies import Task


class Headed(Architecture):
    """Describes an architecture whose training class a file has to name, as its type does not decide the head."""

    architectures: tuple[str, ...]
    """Training classes that the file names; the first one is trained."""
    num_labels: Size = 2
    """Number of labels of a classifier."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Returns the tasks of the training classes that the family describes."""
        return tuple(task for task in map(Task.of_class, self.classes) if task is not None)

    @property
    def task(self) -> Task:
        """Returns the task of the training class."""
        return Task.of_class(self.architectures[0]) or self.tasks[0]

    def for_task(self, task: Task) -> Self:
        """Returns the same model with the training class of a task."""
        name = next(name for name in self.classes if Task.of_class(name) is task)
        return self.model_copy(update={"architectures": (name,)})

    @model_validator(mode="before")
    @classmethod
    def _as_saved(cls, fields: Any) -> Any:
        """Reads what transformers saves: `null` for an unknown class, and names of labels instead of their number."""
        if not isinstance(fields, Mapping):
            return fields
        names = fields.get("id2label")
        counted = {"num_labels": len(names)} if isinstance(names, Mapping) and names else {}
        return counted | {k: v for k, v in fields.items() if k != "architectures" or v}

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if getattr(self, "d_kv", None) is None and self.hidden_size % self.num_attention_heads:
            heads = self.num_attention_heads
            raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of num_attention_heads ({heads})")
        return self

"""What replays tell about a model, as pydantic models that are kept on disk."""

from __future__ import annotations

from math import prod
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from planner.memory.sharding.state import TrainedTensor, Unit, allocated

VERSION: Literal[2] = 2

Affine = tuple[int, int]
"""Fixed bytes, bytes per sample."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = VERSION


class Introduction(Record):
    """What a model is, before anything is said about how it is trained."""

    num_parameters: NonNegativeInt
    target_names: tuple[str, ...]
    """Linear layers that LoRA can adapt."""
    max_positions: int | None = None
    tokens_per_sample: int | None = None
    """Of a model whose samples are images, all of one size."""


class Instant(Record):
    """Live bytes by category at one instant of a step, beyond what stays."""

    activations: Affine
    temporary: Affine
    gradients: Affine
    unsharded_parameters: Affine
    communication: Affine


class Trained(Record):
    """Equal trained parameters."""

    shape: tuple[int, ...]
    itemsize: NonNegativeInt
    is_embedding: bool
    is_hidden: bool
    is_linear: bool
    count: NonNegativeInt


class Profile(Record):
    """A model under one setting: everything of a strategy but optimizer and allocator."""

    parameters_bytes: NonNegativeInt
    """On one rank."""
    inputs_bytes: NonNegativeInt
    """Of one sample."""
    first: dict[str, tuple[Instant, ...]]
    """By phase, the largest instants of a micro-batch that finds no gradients."""
    later: dict[str, tuple[Instant, ...]]
    """The same where those of an earlier one are there."""
    trained: tuple[Trained, ...]
    gathered_bytes: NonNegativeInt
    """All parameters, in the dtype of the computation."""
    gathered_gradient_bytes: NonNegativeInt
    half_flops_per_sample: int
    fp32_flops_per_sample: int
    bytes_per_sample: int
    fixed_bytes: int
    """Moved by a micro-batch of any size."""

    def unit(self) -> Unit:
        """All parameters as one unit."""
        tensors = tuple(
            TrainedTensor(t.shape, prod(t.shape), t.itemsize, t.is_embedding, t.itemsize, "", t.is_hidden, t.is_linear)
            for t in self.trained
            for _ in range(t.count)
        )
        gradients = sum(allocated(t.num_elements * t.itemsize) for t in tensors)
        return Unit(self.parameters_bytes, tensors, self.gathered_bytes, gradients, self.gathered_gradient_bytes)


class Refusal(Record):
    """A setting that the model cannot be trained in."""

    reason: str

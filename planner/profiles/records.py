"""Defines what replays find out about a model, as pydantic models that are kept on disk."""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from planner.libraries.allocator import allocated
from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.layout import Turn

VERSION: Literal[6] = 6
"""Version of the records' fields; records of another version are not read."""

Affine = tuple[int, int]
"""(fixed, per-sample) bytes: `fixed + per_sample x micro_batch_size`."""


class Record(BaseModel):
    """Serves as the base of all records that are kept on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[6] = VERSION


class Introduction(Record):
    """Holds what is known of a model whatever it is trained with."""

    num_parameters: NonNegativeInt
    """Number of elements of all parameters; tied weights count once."""
    target_names: tuple[str, ...]
    """Names of the linear layers that LoRA can adapt."""
    max_positions: int | None = None
    """Largest number of positions that the configuration allows; None if it does not say."""
    tokens_per_sample: int | None = None
    """Tokens per sample of a model whose samples are images of one size; None for other models."""
    unadapted: tuple[str, ...] = ()
    """Names of the linear layers that PEFT refuses to adapt."""
    supports_flash: bool = False
    """Whether transformers runs it with flash-attn."""
    model_type: str | None = None
    """`model_type` of its configuration; None for a model of the user's own code."""
    packages: tuple[str, ...] = ()
    """Distributions whose kernels are planned, which transformers does without where they are not installed."""
    is_encoder_decoder: bool = False
    """Whether a sample is a source and a target, which can have a length of its own."""


class Instant(Record):
    """Holds the live bytes of each category at one instant of a step, without parameters and optimizer states."""

    activations: Affine
    temporary: Affine
    gradients: Affine
    unsharded_parameters: Affine
    communication: Affine


class Trained(Record):
    """Describes trained parameters that are equal in everything an optimizer depends on."""

    shape: tuple[int, ...]
    itemsize: NonNegativeInt
    """Bytes per element of the stored parameter."""
    is_embedding: bool
    """Whether they are weights of embeddings."""
    is_hidden: bool
    """Whether they are matrices in blocks."""
    is_linear: bool
    """Whether they are weights of `torch.nn.Linear` in blocks, and no adapters."""
    count: NonNegativeInt
    """Number of these parameters in the model."""


class Profile(Record):
    """Holds the memory and work of a model under one setting: all of a strategy except optimizer and allocator."""

    parameters_bytes: NonNegativeInt
    """Bytes of parameters and buffers on one rank."""
    inputs_bytes: NonNegativeInt
    """Bytes of the inputs of one sample."""
    only: dict[str, tuple[Instant, ...]]
    """Largest instants by phase, in the only micro-batch of a step."""
    first: dict[str, tuple[Instant, ...]]
    """The same in the first of several, to whose gradients others add."""
    later: dict[str, tuple[Instant, ...]]
    """The same in one between the first and the last, when the gradients of earlier ones exist."""
    last: dict[str, tuple[Instant, ...]]
    """The same in the last one."""
    evaluation: tuple[Instant, ...] = ()
    """Largest instants of an evaluation, per evaluated sample, without the training batch; none if there is none."""
    trained: tuple[Trained, ...]
    gathered_bytes: NonNegativeInt
    """Bytes of all parameters, unsharded, in the dtype of the computation."""
    gathered_gradient_bytes: NonNegativeInt
    """Bytes of all gradients, unsharded, in the dtype of the computation."""
    half_flops_per_sample: int
    """FLOPs in half precision of forward and backward of one sample."""
    fp32_flops_per_sample: int
    """FLOPs in fp32 of forward and backward of one sample."""
    bytes_per_sample: int
    """Bytes that forward and backward of one sample read and write."""
    fixed_bytes: int
    """Bytes that forward and backward read and write whatever the micro-batch size is."""
    again_half_flops_per_sample: int
    """Of the FLOPs in half precision, those that compute forward again within backward."""
    again_fp32_flops_per_sample: int
    """Of the FLOPs in fp32, those that compute forward again within backward."""
    kernels: NonNegativeInt
    """Kernels that forward and backward of one micro-batch launch."""

    def of_turns(self, micro_batches: int) -> dict[str, tuple[Instant, ...]]:
        """Returns the largest instants by phase of a step of so many micro-batches."""
        turns: list[dict[str, tuple[Instant, ...]]] = [getattr(self, turn.value) for turn in Turn.of(micro_batches)]
        return {phase: tuple(chain.from_iterable(turn[phase] for turn in turns)) for phase in turns[0]}

    def unit(self) -> Unit:
        """Returns all parameters as one unit of sharding."""
        tensors = tuple(
            TrainedTensor(t.shape, prod(t.shape), t.itemsize, t.is_embedding, t.itemsize, "", t.is_hidden, t.is_linear)
            for t in self.trained
            for _ in range(t.count)
        )
        gradients = sum(allocated(t.num_elements * t.itemsize) for t in tensors)
        return Unit(
            self.parameters_bytes,
            tensors,
            self.gathered_bytes,
            gradients,
            self.gathered_gradient_bytes,
            self.gathered_gradient_bytes,
        )


class Refusal(Record):
    """Records that the model cannot be trained under a setting."""

    reason: str
    """Why it cannot, in words for the user."""

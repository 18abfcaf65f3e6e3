"""A question to the planner, as a pydantic model that round-trips through JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.plan import Count, Record, Total
from strategies import (
    DEFAULT_MAX_ACCUMULATION,
    Allocator,
    Attention,
    Checkpointing,
    Finetuning,
    Framework,
    Kernels,
    LoraTargets,
    Loss,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    Update,
)

DEFAULT_SEQUENCE_LENGTH = 2048

Gpus = Annotated[int, Field(gt=0, le=1024, strict=True)]
Nodes = Annotated[int, Field(gt=0, le=2**16, strict=True)]
SequenceLength = Annotated[int, Field(gt=0, le=2**24, strict=True)]
Headroom = Annotated[float, Field(ge=0, lt=1)]


class Request(Record):
    """A question to the planner, normalized: names as in registry and catalog, empty axes mean the default space."""

    model: str
    num_parameters: Total
    gpu: str
    gpu_memory_bytes: Total
    """What a process can use of one GPU."""
    gpus: Gpus = 1
    nodes: Nodes = 1
    sequence_length: SequenceLength = DEFAULT_SEQUENCE_LENGTH
    headroom: Headroom = 0.05
    max_accumulation: Count | None = DEFAULT_MAX_ACCUMULATION
    global_batch_size: Count | None = None
    micro_batch_size: tuple[Count, ...] = ()
    gradient_accumulation_steps: Count | None = None
    precision: tuple[Precision, ...] = ()
    optimizer: tuple[Optimizer, ...] = ()
    optimizer_rank: tuple[Count, ...] = ()
    finetuning: tuple[Finetuning, ...] = ()
    lora_rank: tuple[Count, ...] = ()
    lora_targets: tuple[LoraTargets, ...] = ()
    quantization: tuple[Quantization, ...] = ()
    checkpointing: tuple[Checkpointing, ...] = ()
    sharding: tuple[Sharding, ...] = ()
    attention: tuple[Attention, ...] = ()
    loss: tuple[Loss, ...] = ()
    kernels: tuple[Kernels, ...] = ()
    framework: tuple[Framework, ...] = ()
    allocator: tuple[Allocator, ...] = ()
    update: tuple[Update, ...] = ()

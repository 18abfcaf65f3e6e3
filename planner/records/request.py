"""A question to the planner, as a pydantic model that round-trips through JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.records.plan import Count, Record, Total
from planner.records.space import SearchSpace
from strategies import DEFAULT_MAX_ACCUMULATION, Batching

DEFAULT_SEQUENCE_LENGTH = 2048

Gpus = Annotated[int, Field(gt=0, le=1024, strict=True)]
Nodes = Annotated[int, Field(gt=0, le=2**16, strict=True)]
SequenceLength = Annotated[int, Field(gt=0, le=2**24, strict=True)]
Headroom = Annotated[float, Field(ge=0, lt=1)]


class Workload(Record):
    """What is trained where, and in which batches."""

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
    evaluation_batch_size: Count | None = None
    """Samples that are evaluated at once between steps; None: nothing is."""
    batching: Batching = Batching.FULL
    mean_length: Count | None = None
    """Tokens of a sample on average, where samples are padded or packed; None: nobody said."""

    @property
    def where(self) -> str:
        """The number of GPUs and their name."""
        return f"{self.gpus * self.nodes} x {self.gpu}"


class Request(SearchSpace, Workload):
    """A question to the planner, normalized: names as in registry and catalog, empty axes mean the default space."""

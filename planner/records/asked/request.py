"""Defines a request to the planner as a pydantic model that round-trips through JSON."""

from typing import Annotated

from pydantic import Field

from planner.records.asked.space import SearchSpace
from planner.records.plan import Count, Record, Total
from strategies import DEFAULT_MAX_ACCUMULATION, Batching, Loading, Objective, Outputs, Task

DEFAULT_SEQUENCE_LENGTH = 2048
"""Default tokens per sequence, for models that have as many positions."""

Gpus = Annotated[int, Field(gt=0, le=1024, strict=True)]
Nodes = Annotated[int, Field(gt=0, le=2**16, strict=True)]
SequenceLength = Annotated[int, Field(gt=0, le=2**24, strict=True)]
Amount = Annotated[float, Field(gt=0)]
Headroom = Annotated[float, Field(ge=0, lt=1)]
USUAL_HEADROOM = 0.05
"""Share of a GPU that a search leaves free unless told otherwise.

Published runs of fixed shapes fill up to all of their GPU, so that this says nothing of whether a step runs: it leaves
room for what no plan knows, such as a longer batch or another process on the card.
"""


def left_free(headroom: float | None) -> float:
    """Returns the share of a GPU that a search leaves free: the headroom that is asked for, or the usual one."""
    return USUAL_HEADROOM if headroom is None else headroom


def fillable(usable_bytes: int, headroom: float | None) -> int:
    """Returns the bytes of a GPU that a search may fill: the usable ones less the headroom, or less the usual one."""
    return usable_bytes - round(usable_bytes * left_free(headroom))


class Workload(Record):
    """Says which model is trained, on which GPUs, and in which batches."""

    model: str
    """Name by which the model is found again."""
    task: Task | None = None
    """What the model is trained to do; None where its own code decides that."""
    num_parameters: Total
    gpu: str
    machine: str | None = None
    """Name of the machine that each node is; None where only its GPUs are known."""
    gpu_memory_bytes: Total
    """Bytes of one GPU that processes can use."""
    gpus: Gpus = 1
    """GPUs per node."""
    nodes: Nodes = 1
    sequence_length: SequenceLength = DEFAULT_SEQUENCE_LENGTH
    """Tokens per sequence; of an encoder-decoder, those of the source."""
    headroom: Headroom | None = USUAL_HEADROOM
    """Share of the GPU's usable bytes that is left free; None where one configuration is judged by all of them.

    What is proposed in its place leaves the usual share."""
    loading: Loading = Loading.AUTO
    host_memory_bytes: Total | None = None
    """Host memory of one node that processes can use; None for what is usual with its GPUs."""
    objective: Objective | None = None
    """What a search looks for; None for a single configuration, and in answers that were written before others than the
    largest batch could be looked for."""
    max_accumulation: Count | None = DEFAULT_MAX_ACCUMULATION
    """Largest number of accumulation steps of a search; None where another field decides the number."""
    global_batch_size: Count | None = None
    """Effective batch that a plan has to make, in sequences; None if it is open."""
    tokens_per_step: Count | None = None
    """Tokens of all ranks per optimizer step that a plan has to come next to; None if they are open."""
    micro_batch_size: tuple[Count, ...] = ()
    """Micro-batches that are allowed, in sequences; empty for all of them."""
    gradient_accumulation_steps: Count | None = None
    """Micro-batches per optimizer step; None if a search may choose the number."""
    evaluation_batch_size: Count | None = None
    """Samples that each GPU evaluates at once between steps; None for no evaluation."""
    batching: Batching = Batching.FULL
    mean_length: Count | None = None
    """Tokens per sample on average, if samples are padded or packed; None if that is not known."""
    tokens: Total | None = None
    """Tokens of one epoch of a run; None if they are not given."""
    samples: Total | None = None
    """Samples of one epoch of a run; None if they are not given."""
    epochs: Amount | None = None
    """Epochs of a run; None for one."""
    deadline_seconds: Amount | None = None
    """Most seconds of a run; None without a deadline."""
    budget_usd: Amount | None = None
    """Most US dollars of a run; None without a budget."""
    gpu_usd_per_hour: Amount | None = None
    """Price of one GPU as it is given; None for that of the catalog."""
    outputs: Outputs = Outputs.RELEASED
    """How long the training loop keeps what the model returned."""
    target_length: SequenceLength | None = None
    """Tokens of the decoder's sequence, of an encoder-decoder; None for as many as the source has."""

    @property
    def where(self) -> str:
        """Returns the number of GPUs and their name, such as `8 x T4`."""
        return f"{self.gpus * self.nodes} x {self.gpu}"


class Request(SearchSpace, Workload):
    """Holds a normalized request: names are those of registry and catalog, and open options have no values."""

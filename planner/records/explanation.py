"""Defines what a step saves for backward, part by part, as pydantic models that round-trip through JSON."""

from typing import Annotated, Literal

from pydantic import Field

from hardware import MIB
from planner.records.asked.request import Request
from planner.records.display import Displayed
from planner.records.plan import Bytes, Plan, Record
from planner.records.verification import SCHEMA_VERSION


class SavedTensor(Record):
    """Describes a tensor that a part saves for backward."""

    name: str
    """Name of the module or the operation that made the tensor."""
    shape: tuple[int, int] | None
    """Rows and columns of one sample, or of all samples together for a tensor with `fixed_bytes` only.

    None for a tensor that is saved as a view, or kept by a checkpoint."""
    itemsize: int | None
    """Bytes per element; None if `shape` is None."""
    fixed_bytes: Bytes
    """Bytes that do not depend on the micro-batch."""
    bytes_per_sample: Bytes
    """Bytes for each sample of the micro-batch."""

    def saved_bytes(self, micro_batch_size: int) -> int:
        """Returns the tensor's bytes at a micro-batch size."""
        return self.fixed_bytes + self.bytes_per_sample * micro_batch_size


class SavingPart(Record):
    """Describes a part of the model, or several equal parts, and what each saves."""

    part: Literal["stem", "block", "head", "loss"]
    blocks: tuple[int, ...]
    """Numbers of the equal blocks; empty for the other parts."""
    fixed_bytes: Bytes
    bytes_per_sample: Bytes
    """(fixed, per-sample) bytes that each of these parts saves, including tensors that it shares with other parts."""
    tensors: tuple[SavedTensor, ...]
    """Tensors that each of these parts saves, in the order of the forward pass."""

    def saved_bytes(self, micro_batch_size: int) -> int:
        """Returns the bytes that one of these parts saves at a micro-batch size."""
        return self.fixed_bytes + self.bytes_per_sample * micro_batch_size

    @property
    def count(self) -> int:
        """Returns the number of equal parts."""
        return len(self.blocks) or 1


class Step(Record):
    """Says what one other choice saves or costs, with all else as it is."""

    option: str
    """Name of the option that has another value."""
    value: str
    process_bytes: Bytes
    """Bytes of the process with that value."""
    saved_bytes: int
    """Bytes that this is less than the configuration's; negative if it is more."""
    relative_time: float
    """Time per token over that of the configuration."""
    fits: bool

    @property
    def is_felt(self) -> bool:
        """Returns whether the step changes the memory by a mebibyte, or the time by half a percent."""
        return abs(self.saved_bytes) >= MIB or abs(self.relative_time - 1) >= 0.005


class Group(Record):
    """Describes equal tensors that are saved for backward, of all blocks together."""

    name: str
    count: int
    """Number of tensors."""
    shape: str
    """Shape of one of them: samples x rows x columns."""
    formula: str
    """How their bytes come about: number x shape x bytes per element."""
    num_bytes: Bytes


class OneMore(Record):
    """Says at which micro-batch a configuration stops, and what one more sample would take."""

    largest: Annotated[int, Field(ge=0)]
    """The largest micro-batch that fits, in samples; 0 where not one sample does."""
    moment: str
    """Name of the moment of the step at which a micro-batch of one sample more peaks."""
    on_host: bool = False
    """Whether a node's host memory is what does not suffice, and the bytes are of it."""
    added_bytes: int
    """Bytes that one sample more takes on top of the largest micro-batch; all that it takes where that is 0."""
    free_bytes: int
    """Bytes that the largest micro-batch leaves; all that may be filled where that is 0."""


class Explanation(Displayed, Record):
    """Holds the answer of `explain`: what one configuration saves for backward, tensor by tensor."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plan: Plan
    parts: tuple[SavingPart, ...]
    """The stem, each kind of equal blocks, the head and the loss, in the order of the forward pass."""
    groups: tuple[Group, ...] = ()
    """What is saved for backward, tensors of the same name in all blocks together, the largest first."""
    steps: tuple[Step, ...] = ()
    """What each other choice of an option saves or costs, one at a time, in the order of the options."""
    one_more: OneMore | None = None
    """Where the micro-batch stops, and why; None in answers of versions that did not say it."""

    def headline(self) -> str:
        """Returns in words how much is saved."""
        total = sum(part.count * part.saved_bytes(self.plan.micro_batch_size) for part in self.parts)
        return f"{self.request.model} saves {total / 2**30:.2f} GiB for backward"

"""What a step saves for backward, part by part, as pydantic models that round-trip through JSON."""

from __future__ import annotations

from typing import Literal

from planner.records.display import Displayed
from planner.records.plan import Bytes, Plan, Record
from planner.records.request import Request
from planner.records.verification import SCHEMA_VERSION


class SavedTensor(Record):
    """A tensor that a part saves for backward."""

    name: str
    """The module or the operation that made it."""
    shape: tuple[int, int] | None
    """Rows and columns: per sample, or of all samples together where `fixed_bytes` says so. None where what was saved
    is a view of the tensor, or where a checkpoint keeps it."""
    itemsize: int | None
    """Bytes per element; None where `shape` is."""
    fixed_bytes: Bytes
    """Bytes that do not depend on the micro-batch."""
    bytes_per_sample: Bytes

    def saved_bytes(self, micro_batch_size: int) -> int:
        """Returns the tensor's bytes at a micro-batch size."""
        return self.fixed_bytes + self.bytes_per_sample * micro_batch_size


class SavingPart(Record):
    """A part of the model, or several equal ones, and what each saves."""

    part: Literal["stem", "block", "head", "loss"]
    blocks: tuple[int, ...]
    """Numbers of the equal blocks; empty for the other parts."""
    fixed_bytes: Bytes
    bytes_per_sample: Bytes
    """Bytes that each of them saves, with tensors that other parts save for it."""
    tensors: tuple[SavedTensor, ...]
    """In the order of the forward pass."""

    def saved_bytes(self, micro_batch_size: int) -> int:
        """Returns the bytes that one of these parts saves at a micro-batch size."""
        return self.fixed_bytes + self.bytes_per_sample * micro_batch_size

    @property
    def count(self) -> int:
        """The number of equal parts."""
        return len(self.blocks) or 1


class Explanation(Displayed, Record):
    """Answer of `explain`: what one configuration saves for backward, tensor by tensor."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plan: Plan
    parts: tuple[SavingPart, ...]
    """Stem, kinds of blocks, head and loss, in the order of the forward pass."""

    def headline(self) -> str:
        """Says how much is saved."""
        total = sum(part.count * part.saved_bytes(self.plan.micro_batch_size) for part in self.parts)
        return f"{self.request.model} saves {total / 2**30:.2f} GiB for backward"

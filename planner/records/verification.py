"""What a replay certifies about a plan, as pydantic models that round-trip through JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from planner.records.display import Displayed
from planner.records.plan import Bytes, Plan, Record
from planner.records.request import Request
from strategies import Allocator

SCHEMA_VERSION: Literal[1] = 1


class PhaseBytes(Record):
    """One phase of a steady step: its peak in the replay and in the memory model, and their relative difference."""

    replay_bytes: Bytes
    model_bytes: Bytes
    difference: float
    """(model - replay) / replay."""


class PeakTensors(Record):
    """Tensors of one kind that are alive at the peak, over all blocks."""

    category: str
    name: str
    """As the model calls its parameters; of other tensors, the module and the operation that made it. A block's number
    is `*`."""
    tensors: int
    num_bytes: Bytes


class Reservation(Record):
    """The replay's allocations, served from the process's start by one kind of caching allocator."""

    reserved_bytes: Bytes
    """The most it reserves within the plan's budget; where that does not suffice, on a GPU of any size."""
    unlimited_reserved_bytes: Bytes
    """The most it reserves on a GPU of any size."""
    retries: int
    """How often it gives cached memory back to stay within the budget, which costs time."""
    fits: bool
    """It serves everything within the budget."""


class Device(StrEnum):
    """Where `verify` runs the step: only on fake tensors, or for real as well."""

    REPLAY = "replay"
    CUDA = "cuda"
    CPU = "cpu"


class MeasuredPhase(Record):
    """One phase of a steady step that ran for real, and the replay of that step on the same device's kernels."""

    measured_bytes: Bytes
    """On a GPU `max_memory_allocated`, in whole blocks; on the CPU the bytes of all live tensors."""
    replay_bytes: Bytes
    difference: float
    """(replay - measured) / measured."""
    measured_reserved_bytes: Bytes | None = None
    """`max_memory_reserved`, on a GPU."""
    replay_reserved_bytes: Bytes | None = None


class Measured(Record):
    """The step run for real."""

    device: Device
    phases: dict[str, MeasuredPhase]
    """forward, backward and optimizer."""
    left_out: dict[str, Bytes]
    """On the CPU: scratch memory that kernels allocate for themselves, the largest of each; not in `phases`."""
    seconds: float


class Verification(Displayed, Record):
    """A replay of the real training step beside the memory model's account of the same plan."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plan: Plan
    phases: dict[str, PhaseBytes]
    """forward, backward and optimizer: the bytes of all live tensors."""
    allocated_bytes: Bytes
    """By the replay: whole blocks of CUDA's caching allocator, cuBLAS workspaces included."""
    reserved_bytes: Bytes
    """By the replay: what the plan's allocator reserves."""
    process_bytes: Bytes
    """With the CUDA context and NCCL."""
    fits: bool
    allocators: dict[Allocator, Reservation]
    """Each kind of caching allocator; the plan's is the one that counts."""
    peak_phase: str
    peak_tensors: tuple[PeakTensors, ...]
    """Largest first; they add up to the largest of `phases`."""
    difference: float
    """Of the model's `allocated_bytes` from the replay's."""
    measured: Measured | None = None
    """Where a real run was asked for."""
    seconds: float
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """Says whether the replay fits, and how far the memory model is from it."""
        says = "fits" if self.fits else "does not fit"
        return f"the replay of {self.request.model} on {self.request.where} {says}, model {self.difference:+.2%}"

    @property
    def reservable_bytes(self) -> int:
        """What the caching allocator can reserve within the budget, beside the CUDA context and NCCL."""
        return self.plan.memory.budget_bytes - (self.process_bytes - self.reserved_bytes)

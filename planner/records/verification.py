"""Defines the result of a verification by a replay as pydantic models that round-trip through JSON."""

from enum import StrEnum
from typing import Literal

from planner.records.advice import Way
from planner.records.asked.request import Request
from planner.records.display import Displayed
from planner.records.plan import Bytes, Plan, Record
from strategies import Allocator

SCHEMA_VERSION: Literal[1] = 1
"""Version of the JSON of all answers."""


class PhaseBytes(Record):
    """Compares the peaks of one phase of a steady step in the replay and in the memory model."""

    replay_bytes: Bytes
    model_bytes: Bytes
    difference: float
    """Relative difference, (model - replay) / replay."""


class PeakTensors(Record):
    """Groups the tensors of one category and name, in all blocks, that are alive at the peak."""

    category: str
    """Memory category of the tensors."""
    name: str
    """Name of a parameter in the model, or the module and operation that allocated the tensor, with `*` for the number
    of the block."""
    tensors: int
    """Number of tensors in the group."""
    num_bytes: Bytes
    """Bytes of all tensors of the group together."""


class Reservation(Record):
    """Says how one kind of caching allocator serves the replay's allocations, from the start of the process."""

    reserved_bytes: Bytes
    """Peak of the reserved bytes within the plan's budget, or without a limit if the budget does not suffice."""
    unlimited_reserved_bytes: Bytes
    """Peak of the reserved bytes without a limit, as on a larger GPU."""
    retries: int
    """How often the allocator returns cached memory to stay within the budget, which costs time."""
    fits: bool
    """Whether the allocator serves everything within the budget."""


class Device(StrEnum):
    """Says where `verify` runs the step: on fake tensors only (`REPLAY`), or on a real device as well."""

    REPLAY = "replay"
    CUDA = "cuda"
    CPU = "cpu"


class MeasuredPhase(Record):
    """Compares one phase of a steady step that ran for real with a replay that uses the same device's kernels."""

    measured_bytes: Bytes
    """Peak bytes of the real step: `max_memory_allocated` on a GPU, in whole blocks; all live tensors on the CPU."""
    replay_bytes: Bytes
    """Peak bytes of the replay, counted likewise."""
    difference: float
    """Relative difference, (replay - measured) / measured."""
    measured_reserved_bytes: Bytes | None = None
    """Bytes that `max_memory_reserved` reports on a GPU; None on the CPU."""
    replay_reserved_bytes: Bytes | None = None
    """Bytes that the simulated native allocator reserves for the replay; None on the CPU."""


class Measured(Record):
    """Compares a step that ran for real with its replay."""

    device: Device
    phases: dict[str, MeasuredPhase]
    """Peaks by phase: `forward`, `backward` and `optimizer`, and `evaluation` if there is one."""
    left_out: dict[str, Bytes]
    """Bytes of the largest scratch memory that each kind of CPU kernel allocates for itself; `phases` leave it out."""
    seconds: float
    """Time that the run took."""


class Verification(Displayed, Record):
    """Holds the result of `verify`: a replay of the real training step, compared with the memory model's plan."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plan: Plan
    """Plan that was replayed, with the memory model's bytes."""
    phases: dict[str, PhaseBytes]
    """Peak bytes of all live tensors by phase: `forward`, `backward`, `optimizer`, and `evaluation` if there is one."""
    allocated_bytes: Bytes
    """Peak bytes in whole blocks of CUDA's caching allocator by the replay, including cuBLAS workspaces."""
    reserved_bytes: Bytes
    """Peak bytes that the plan's allocator reserves by the replay."""
    process_bytes: Bytes
    """Reserved bytes with the CUDA context and NCCL."""
    fits: bool
    """Whether the plan's allocator serves the replay within the budget."""
    allocators: dict[Allocator, Reservation]
    """How each kind of caching allocator serves the replay; `fits` is that of the plan's allocator."""
    peak_phase: str
    """Phase in which the replay peaks."""
    peak_tensors: tuple[PeakTensors, ...]
    """Tensors that are alive at the peak, largest group first; they add up to the largest of `phases`."""
    difference: float
    """Relative difference of allocated bytes, (model - replay) / replay."""
    measured: Measured | None = None
    """Comparison of the replay with a real run; None unless it was requested."""
    seconds: float
    """Time that the replay took, without the real run."""
    notes: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    """Smallest sets of changes after which the plan fits by the memory model, less what the replay takes beyond that;
    empty where the replay fits."""

    def headline(self) -> str:
        """Returns in words whether the replay fits, and how far the memory model is from it."""
        says = "fits" if self.fits else "does not fit"
        return f"the replay of {self.request.model} on {self.request.where} {says}, model {self.difference:+.2%}"

    @property
    def reservable_bytes(self) -> int:
        """Returns the bytes that torch's allocator can reserve within the budget: without the CUDA context and NCCL."""
        return self.plan.memory.budget_bytes - (self.process_bytes - self.reserved_bytes)

"""Defines the answer of `sweep` as pydantic models: a flat row for each model, machine, length and method."""

from datetime import date
from typing import Literal

from planner.records.display import Displayed
from planner.records.plan import Record
from planner.records.verification import SCHEMA_VERSION


class SweepRow(Record):
    """Holds the best plan of one fine-tuning method for one model on one machine at one length, or why there is none.

    What belongs to a plan is None where none fits.
    """

    sweep: str
    """Identifies what was asked but models and lengths: an interrupted sweep goes on in a file of the same."""
    model: str
    parameters: int | None = None
    machine: str | None = None
    """Name of the machine, or of the GPU; None, as are most others, where the model cannot be planned at all."""
    gpu: str | None = None
    gpus: int | None = None
    """GPUs per node."""
    nodes: int | None = None
    sequence_length: int | None = None
    method: str | None = None
    fits: bool
    precision: str | None = None
    optimizer: str | None = None
    quantization: str | None = None
    checkpointing: str | None = None
    sharding: str | None = None
    micro_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    global_batch_size: int | None = None
    process_bytes: int | None = None
    budget_bytes: int | None = None
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    usd_per_hour: float | None = None
    price_date: date | None = None
    usd_per_million_tokens: float | None = None
    run_seconds: float | None = None
    run_usd: float | None = None
    reason: str | None = None
    """Why nothing can be planned; None where something fits, or memory is what lacks."""

    @property
    def size(self) -> int:
        """Returns the number of GPUs."""
        return (self.gpus or 0) * (self.nodes or 0)

    @property
    def where(self) -> str:
        """Returns the machine in a few words."""
        if self.machine == self.gpu:
            return f"{self.size} x {self.gpu}"
        return f"{self.nodes} x {self.machine}" if self.nodes != 1 else str(self.machine)


class SweepResult(Displayed, Record):
    """Holds the answer of `sweep`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    rows: tuple[SweepRow, ...]
    """The rows, models in the order in which they were asked for."""
    reused: int
    """Number of rows that a file held already."""
    seconds: float
    """Time that the rest took."""

    def headline(self) -> str:
        """Returns the number of rows, and of those with a plan, in words."""
        return f"{sum(row.fits for row in self.rows)} of {len(self.rows)} combinations fit"

"""Defines the answer of `measured`: what exported scripts measured beside what their plans predicted."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt

from planner.records.display import Displayed
from planner.records.plan import Bytes, Record
from planner.records.verification import SCHEMA_VERSION


class Line(BaseModel):
    """Serves as the base class of what a script writes: fields that a user adds to it are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Predicted(Line):
    """Holds what predicted.json says."""

    model: str
    gpu: str
    gpus: NonNegativeInt
    global_batch_size: NonNegativeInt
    allocated_bytes: Bytes
    reserved_bytes: Bytes
    process_bytes: Bytes
    step_seconds: NonNegativeFloat
    step_seconds_low: NonNegativeFloat
    step_seconds_high: NonNegativeFloat
    torch: str | None = None
    """The version of torch that the plan assumes; None in files of old scripts."""


class MeasuredLine(Line):
    """Holds a line of measured.jsonl: what one run measured. Without a GPU there are no bytes."""

    steps: NonNegativeInt
    step_seconds: NonNegativeFloat
    losses: tuple[float, ...] = ()
    global_batch_size: NonNegativeInt
    trained_parameters: NonNegativeInt | None = None
    gpu: str | None = None
    torch: str | None = None
    allocated_bytes: Bytes | None = None
    reserved_bytes: Bytes | None = None
    process_bytes: Bytes | None = None
    predicted: Predicted


class Deviation(Record):
    """Compares one quantity of a run with its prediction."""

    name: str
    """`allocated`, `reserved`, `process` or `step`."""
    predicted: float
    """Bytes, or seconds of a step."""
    measured: float
    difference: float
    """Relative difference, (predicted - measured) / measured."""


class MeasuredRun(Record):
    """Holds one run with its deviations."""

    line: MeasuredLine
    deviations: tuple[Deviation, ...]
    notes: tuple[str, ...]
    """What about the run was not as planned."""

    @property
    def peaks(self) -> tuple[Deviation, ...]:
        """Returns the deviations of memory."""
        return tuple(deviation for deviation in self.deviations if deviation.name != "step")


class Measurement(Displayed, Record):
    """Holds the answer of `measured`: the runs of a file, the latest last."""

    schema_version: Literal[1] = SCHEMA_VERSION
    runs: tuple[MeasuredRun, ...]

    def headline(self) -> str:
        """Returns the number of runs, and how far the peaks are from their predictions, in words."""
        off = [abs(peak.difference) for run in self.runs for peak in run.peaks]
        return f"{len(self.runs)} runs, peaks within {max(off):.1%}" if off else f"{len(self.runs)} runs without peaks"

    def is_within(self, share: float) -> bool:
        """Returns whether every run has peaks, and none is further from its prediction than a share of it."""
        return all(run.peaks and all(abs(peak.difference) <= share for peak in run.peaks) for run in self.runs)

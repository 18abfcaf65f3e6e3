"""Defines the answer of `check` as pydantic models that round-trip through JSON."""

from typing import Any, Final, Literal

from planner.records.display import Displayed
from planner.records.plan import Bytes, Record, Total
from planner.records.result import EstimateResult
from planner.records.verification import SCHEMA_VERSION

Purpose = Literal["fits", "more room", "larger batch", "faster step"]
"""What a change of a run is for."""
FITS: Final = "fits"
ROOMIER: Final = "more room"
LARGER: Final = "larger batch"
FASTER_STEP: Final = "faster step"
NO_RECIPE = "none"
"""Framework of files none of which is a recipe."""


class KeyPlace(Record):
    """Names a key of a file."""

    key: str
    file: str
    line: int | None = None
    """Line from 1; None for what the command line says."""


class Setting(Record):
    """Holds what a run does in one respect, in the planner's words."""

    value: Any
    place: KeyPlace | None = None
    """The key that says it; None for a default of the framework."""
    why: str = ""
    """Source of a default, or why the value is another than the key's."""


class Remark(Record):
    """Says something about a run, and which key makes it so."""

    what: str
    place: KeyPlace | None = None


class OnGpus(Record):
    """Holds the peak of the run on a number of GPUs, or with sequences of a length."""

    gpu: str
    gpus: Total
    sequence_length: Total | None = None
    """Tokens per sequence of the files, where these do not say how many; None where they do."""
    process_bytes: Bytes
    budget_bytes: Bytes
    fits: bool


class KeyChange(Record):
    """Says which value a key of a file gets."""

    key: str
    file: str
    before: Any = None
    """Its value now; None where the file has no such key."""
    after: Any


class Change(Record):
    """Holds a change of a run's files, and what the run takes with it."""

    purpose: Purpose
    what: str
    """The change in words."""
    alters: bool
    """Whether training has another result: another method, optimizer or length."""
    keys: tuple[KeyChange, ...]
    diff: str
    """Unified diff of the files."""
    files: dict[str, str]
    """New text of each file that changes, by its name."""
    arguments: str = ""
    """What the command says that launches the run, where its arguments are the recipe; empty where files alone do."""
    micro_batch_size: Total
    """Sequences of the files per GPU and pass."""
    gradient_accumulation_steps: Total
    global_batch_size: Total
    process_bytes: Bytes
    budget_bytes: Bytes
    fits: bool
    step_seconds: float


class CheckResult(Displayed, Record):
    """Holds the answer of `check`: what a run's files say, and the memory of the run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    files: tuple[str, ...]
    """The files that were read, with those that they name."""
    framework: str
    """The program that the recipe is of, with the version whose sources its defaults are from."""
    reading: dict[str, Setting]
    """What the run does, by the names of `estimate`'s options."""
    refused: tuple[Remark, ...] = ()
    """What keeps the run from being planned: what there is no word for, and what cannot be read."""
    left_out: tuple[Remark, ...] = ()
    """What changes memory a little and the account lacks."""
    without_effect: tuple[KeyPlace, ...] = ()
    """Keys that change nothing in memory."""
    dead: tuple[Remark, ...] = ()
    """Keys that nobody reads, with the reason."""
    not_understood: tuple[KeyPlace, ...] = ()
    """Keys that the reader does not know."""
    plan: EstimateResult | None = None
    """The run as `estimate` answers; None if it was refused."""
    on_gpus: tuple[OnGpus, ...] = ()
    """The peak on several numbers of GPUs and with several lengths, where the files do not say which."""
    smallest: tuple[OnGpus, ...] = ()
    """The smallest GPUs of the catalog that hold the run, where no GPU was named."""
    changes: tuple[Change, ...] = ()
    """The smallest changes of the files that make the run fit; where it fits, a larger batch or a faster step."""
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Returns whether the run was planned and fits."""
        return self.plan is not None and self.plan.memory.fits

    def headline(self) -> str:
        """Returns in words whether the run fits."""
        if self.plan is None:
            return f"{self.files[0]} is refused: {self.refused[0].what if self.refused else 'nothing to plan'}"
        return f"{self.files[0]} on {self.plan.request.where} {self.plan.memory.verdict}"

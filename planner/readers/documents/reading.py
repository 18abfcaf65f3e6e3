"""Defines what was read out of a run's files: each setting in the planner's words, with the place that says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

COMMAND_LINE = "command line"
"""File of what is given behind `--`."""


class Place(NamedTuple):
    """Names a key of a file."""

    file: str
    line: int
    """Line from 1; 0 on the command line."""
    key: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}" if self.line else f"{self.file}: {self.key}"


class Said(NamedTuple):
    """Holds a setting and where it comes from."""

    value: Any
    place: Place | None
    """The key that says it; None for a default of the framework, or what follows from other settings."""
    why: str = ""
    """Source of a default, or what makes a value another than the key's."""


class Refusal(NamedTuple):
    """Names something that the run does and the planner has no word for, or that cannot be read."""

    what: str
    place: Place | None


class Reading:
    """Collects what the files of one run say.

    Attributes:
        said: Settings by their name: options of `estimate`, and `task`, `lora_alpha`.
        refused: What keeps the run from being planned.
        left_out: What the run does, and the planner's account lacks.
        idle: Keys without an effect on memory.
        dead: Keys that nobody reads, with the reason.
        unknown: Keys that are not understood.
        rows_stay_apart: Whether packed rows of a micro-batch are not joined to one.
    """

    def __init__(self) -> None:
        self.said: dict[str, Said] = {}
        self.refused: list[Refusal] = []
        self.left_out: list[Refusal] = []
        self.idle: list[Place] = []
        self.dead: list[Refusal] = []
        self.unknown: list[Place] = []
        self.rows_stay_apart = False

    def say(self, word: str, value: Any, place: Place | None = None, why: str = "") -> None:
        """Records a setting; what is said before about the same word is replaced."""
        self.said[word] = Said(value, place, why)

    def say_all(self, values: Mapping[str, Any], place: Place | None) -> None:
        """Records several settings that one key makes."""
        for word, value in values.items():
            self.say(word, value, place)

    def value(self, word: str, otherwise: Any = None) -> Any:
        """Returns the value of a setting, or another one where nothing says it."""
        said = self.said.get(word)
        return otherwise if said is None else said.value

    def refuse(self, what: str, place: Place | None = None) -> None:
        """Records why the run cannot be planned."""
        if Refusal(what, place) not in self.refused:
            self.refused.append(Refusal(what, place))

    def leave_out(self, what: str, place: Place | None = None) -> None:
        """Records an effect on memory that the account lacks, but that changes it little."""
        self.left_out.append(Refusal(what, place))

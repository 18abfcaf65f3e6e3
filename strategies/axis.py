"""What every axis has in common: a closed set of named choices, each with its facts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from hardware import PlannerError, nearest_names


class Choice(StrEnum):
    """A choice of one axis, spelled as users write it. Members carry `summary`, what the choice means in a line."""

    summary: str

    def __new__(cls, value: str, summary: str) -> Choice:
        member = str.__new__(cls, value)
        member._value_ = value
        member.summary = summary
        return member

    @classmethod
    def axis_name(cls) -> str:
        """The axis as written in options and JSON."""
        return cls.__name__.lower()

    @classmethod
    def parse(cls, text: str) -> Choice:
        """The choice of that name. Raises InvalidChoiceError with the nearest names."""
        try:
            return cls._value2member_map_[text]  # type: ignore[return-value]  # typed as plain Enum members
        except KeyError:
            raise InvalidChoiceError(cls.axis_name(), text, [c.value for c in cls]) from None


class InvalidChoiceError(PlannerError):
    """A name that an axis does not have."""

    def __init__(self, axis: str, given: object, valid: Iterable[str]) -> None:
        names = list(valid)
        near = nearest_names(str(given), names)
        hint = f"did you mean {near[0]}?  (one of {', '.join(names)})" if near else f"one of {', '.join(names)}"
        super().__init__(f"unknown {axis} {str(given)!r}", hint)


class ContradictionError(PlannerError):
    """Choices that exclude each other, or that the model does not have."""

"""Defines named choices with facts, and the errors of names that are none and of choices that exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Self

from hardware import PlannerError, nearest_names
from hardware.errors import shown


class Choice(StrEnum):
    """Represents a choice of one axis, spelled as users write it.

    Attributes:
        summary: Meaning of the choice in one line.
        facts: Physical facts of the choice; None if the axis has none.
    """

    summary: str
    facts: Any

    def __new__(cls, value: str, summary: str, facts: Any = None) -> Self:
        """Creates a member whose value is the text that users write."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.summary = summary
        member.facts = facts
        return member

    @classmethod
    def axis_name(cls) -> str:
        """Returns the name of the axis as written in options and JSON."""
        return _axis_name(cls.__name__)

    @classmethod
    def open_to(cls) -> tuple[type, ...] | None:
        """Returns the types of facts with which plug-ins may add choices.

        Returns:
            The types, or None if plug-ins may add none, because nothing defines what a new choice would mean.
        """
        return None

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Returns names that users can write for a choice with refinements, and what each means; `parse` has none."""
        return {}

    @classmethod
    def spellings(cls) -> Mapping[str, str]:
        """Returns names that training libraries have for choices, and the choice that each is."""
        return {}

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns names that people write for what the axis calls otherwise, and what to write; `parse` refuses them.

        They are names whose letters are near those of another choice, or of none.
        """
        return {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the choice with a name, spelled as here or as a training library does; case and _ for - do not count.

        Raises:
            InvalidChoiceError: The axis has no such choice; the hint gives the nearest names.
        """
        try:
            return cls._value2member_map_[text]  # type: ignore[return-value]  # typed as plain Enum members
        except (KeyError, TypeError):  # TypeError: an unhashable value is no name
            pass
        if isinstance(text, str):
            plain = {_plain(choice.value): choice for choice in cls}
            plain |= {_plain(name): cls.parse(value) for name, value in cls.spellings().items()}
            if (found := plain.get(_plain(text))) is not None:
                return found
        known = {_plain(name): meant for name, meant in cls.mistaken().items()}
        near = known.get(_plain(text)) if isinstance(text, str) else None
        raise InvalidChoiceError(cls.axis_name(), text, [*(c.value for c in cls), *cls.aliases()], near)

    @classmethod
    def add(cls, value: str, summary: str, facts: Any = None) -> Self:
        """Adds a choice from a plug-in, which works like a built-in one until the process ends.

        Args:
            value: Name of the choice, as users write it.
            summary: Meaning of the choice in one line.
            facts: Physical facts of one of the types that `open_to` returns.

        Returns:
            The new member.

        Raises:
            ContradictionError: The axis is closed, has that name already, or takes facts of another type.
        """
        if (kinds := cls.open_to()) is None:
            raise ContradictionError(
                f"{cls.axis_name()} takes no choices of plug-ins: what {value!r} means has no contract",
                "CONTRIBUTING says which axes do",
            )
        if not isinstance(facts, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise ContradictionError(
                f"{cls.axis_name()} {value!r} has facts of type {type(facts).__name__}", f"it takes {names}"
            )
        if value in cls._value2member_map_:
            raise ContradictionError(f"{cls.axis_name()} has a choice {value!r} already", "give it another name")
        enum: Any = cls  # Any: type checkers do not know these private parts; `_new_member_` is `__new__` above
        member = enum._new_member_(cls, value, summary, facts)
        name = value.upper().replace("-", "_")
        member._name_, member._sort_order_ = name, len(cls._member_names_)
        cls._member_names_.append(name)
        cls._member_map_[name] = cls._value2member_map_[value] = member
        added: Self = member
        return added


@cache
def _axis_name(name: str) -> str:
    """Returns the name of an axis for that of its class; a search asks a thousand times."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _plain(text: str) -> str:
    """Returns a name without what does not count in it."""
    return text.strip().casefold().replace("_", "-")


class InvalidChoiceError(PlannerError):
    """Reports a name that an axis does not have; the hint gives what is meant, where that is known, and all names.

    Attributes:
        meant: What is meant, by its name or in words that begin with it; None where that is not known.
    """

    def __init__(self, axis: str, given: object, valid: Iterable[str], meant: str | None = None) -> None:
        names = list(valid)
        near = nearest_names(given, names) if isinstance(given, str) and meant is None else ()
        self.meant = meant = near[0] if near else meant
        hint = f"did you mean {meant}?  (one of {', '.join(names)})" if meant else f"one of {', '.join(names)}"
        super().__init__(f"unknown {axis} {shown(str(given) if isinstance(given, str) else given)}", hint)


class ContradictionError(PlannerError):
    """Reports choices that exclude each other, or that the model does not have."""

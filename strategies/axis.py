"""Defines what all axes share: named choices with facts, options that refine them, and values made from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeAlias

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
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")

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
        raise InvalidChoiceError(cls.axis_name(), text, [*(c.value for c in cls), *cls.aliases()])

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


def _plain(text: str) -> str:
    """Returns a name without what does not count in it."""
    return text.strip().casefold().replace("_", "-")


class InvalidChoiceError(PlannerError):
    """Reports a name that an axis does not have; the hint gives the nearest or all names."""

    def __init__(self, axis: str, given: object, valid: Iterable[str]) -> None:
        names = list(valid)
        near = nearest_names(given, names) if isinstance(given, str) else ()
        hint = f"did you mean {near[0]}?  (one of {', '.join(names)})" if near else f"one of {', '.join(names)}"
        super().__init__(f"unknown {axis} {shown(str(given) if isinstance(given, str) else given)}", hint)


class ContradictionError(PlannerError):
    """Reports choices that exclude each other, or that the model does not have."""


# --- options: what a user can say ---


class WholeNumbers(NamedTuple):
    """Describes whole-number values of an option, `low` <= value <= `high`; `usual` is an example for error texts."""

    low: int
    high: int
    usual: int


class Shares(NamedTuple):
    """Describes fractional values of an option, `low` <= value < `high`; `usual` is an example for error texts."""

    low: float
    high: float
    usual: float


class Names(NamedTuple):
    """Describes an option whose values are `keyword` or names of modules; `example` is one for error texts."""

    keyword: str
    example: str


Kind: TypeAlias = type[Choice] | WholeNumbers | Shares | Names
"""Description of the values that an option takes."""


class Option(NamedTuple):
    """Describes one option that users can set, spelled as on the command line, in JSON and in search spaces."""

    name: str
    kind: Kind
    help: str = ""
    phrase: str = "{}"
    """Format string that words the value in a sentence about a plan."""
    hidden_default: Any = None
    """Value that sentences about a plan do not mention."""
    belongs_to: tuple[Choice, ...] = ()
    """Choices that the option applies to, of the axis or of options before it; empty for all of them."""
    monotone: bool = False
    """Whether memory and time never fall when the value rises, so that what fits with a value fits with all smaller
    ones."""

    def refines(self, values: Mapping[str, Any]) -> bool:
        """Returns whether the option applies where other options have these values; one that has none is not asked."""
        return all(values[name] in owners for name, owners in self.owners().items() if name in values)

    def can_refine(self, values: Mapping[str, Iterable[Any]]) -> bool:
        """Returns whether the option applies for some of the values that each other option may have."""
        asked = ((values[name], owners) for name, owners in self.owners().items() if name in values)
        return all(any(value in owners for value in of) for of, owners in asked)

    def owners(self) -> dict[str, tuple[Choice, ...]]:
        """Returns the choices that the option applies to, by the name of the option that has them."""
        found: dict[str, tuple[Choice, ...]] = {}
        for choice in self.belongs_to:
            name = type(choice).axis_name()
            found[name] = (*found.get(name, ()), choice)
        return found


Values = Mapping[str, Any]
"""Value of each option, by the option's name."""


def given(values: Values, option: str, default: Any) -> Any:
    """Returns the value of an option, or the default if it has none.

    The value is only compared with None by identity, since it may be undecided.
    """
    value = values.get(option)
    return default if value is None else value


class Axis(NamedTuple):
    """Describes an axis of the space: its choices, the options that refine them, and how these make one value."""

    choices: Option
    refinements: tuple[Option, ...] = ()
    join: Callable[[Values], Any] | None = None
    """Makes the strategy's value from the choice and its refinements; None if the choice itself is the value."""
    split: Callable[[Any], Values] | None = None
    """Inverse of `join`: returns the options that make a value."""

    @property
    def name(self) -> str:
        """Returns the name of the axis, which is that of its first option."""
        return self.choices.name

    @property
    def options(self) -> tuple[Option, ...]:
        """Returns the option of the choices, followed by the refinements."""
        return (self.choices, *self.refinements)

    def refining(self, choice: object) -> list[Option]:
        """Returns the refinements that apply to a choice, some of them only with some values of others."""
        return [option for option in self.refinements if option.refines({self.name: choice})]

    def value(self, values: Values) -> Any:
        """Returns the value that options make in a strategy."""
        return self.join(values) if self.join else values[self.name]

    def to_options(self, value: Any) -> Values:
        """Returns the options that make a value; the inverse of `value`."""
        return self.split(value) if self.split else {self.name: value}

    def growing(self, choice: object) -> Option | None:
        """Returns the monotone refinement of a choice, or None; no choice has more than one."""
        return next((option for option in self.refining(choice) if option.monotone), None)

    def combinations(self, space: Callable[[str], tuple[Any, ...]]) -> Iterator[Any]:
        """Yields every value that the choices and refinements of a space make.

        Args:
            space: Returns the values to combine, given the name of an option.
        """
        found: list[dict[str, Any]] = [{}]
        for option in self.options:
            found = [made for values in found for made in _given(values, option, space)]
        yield from map(self.value, found)


def _given(values: dict[str, Any], option: Option, space: Callable[[str], tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yields the values with each value of an option, or as they are if it does not apply."""
    if not option.refines(values):
        yield values
        return
    for value in space(option.name):
        yield {**values, option.name: value}


def axis_of(choices: type[Choice], help: str = "", phrase: str = "{}", hidden_default: Any = None) -> Axis:
    """Returns an axis without refinements; the arguments are those of its only `Option`."""
    return Axis(Option(choices.axis_name(), choices, help, phrase, hidden_default))

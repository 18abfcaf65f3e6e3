"""What every axis has in common: named choices with their facts, the options that refine them, and how both join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import product
from typing import Any, NamedTuple, Self, TypeAlias

from hardware import PlannerError, nearest_names
from hardware.errors import shown


class Choice(StrEnum):
    """A choice of one axis, spelled as users write it. Members carry `summary`, what the choice means in a line, and
    the physical facts of the axis, where it has some."""

    summary: str
    facts: Any

    def __new__(cls, value: str, summary: str, facts: Any = None) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.summary = summary
        member.facts = facts
        return member

    @classmethod
    def axis_name(cls) -> str:
        """The axis as written in options and JSON."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")

    @classmethod
    def open_to(cls) -> tuple[type, ...] | None:
        """Types of the facts with which plug-ins may add choices; None where nothing says what a choice would mean."""
        return None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The choice of that name. Raises InvalidChoiceError with the nearest names."""
        try:
            return cls._value2member_map_[text]  # type: ignore[return-value]  # typed as plain Enum members
        except (KeyError, TypeError):  # TypeError: what cannot be a key is no name
            raise InvalidChoiceError(cls.axis_name(), text, [c.value for c in cls]) from None

    @classmethod
    def add(cls, value: str, summary: str, facts: Any = None) -> Self:
        """Adds a choice of a plug-in's, which the axis then has like its own, as long as the process lives.

        Args:
            facts: of the kind that the axis's own choices have, where they have some.

        Raises:
            ContradictionError: the axis is closed, has that name already, or takes facts of another kind.
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
        enum: Any = cls  # of which the type checker knows no private part; `_new_member_` is `__new__` above
        member = enum._new_member_(cls, value, summary, facts)
        name = value.upper().replace("-", "_")
        member._name_, member._sort_order_ = name, len(cls._member_names_)
        cls._member_names_.append(name)
        cls._member_map_[name] = cls._value2member_map_[value] = member
        added: Self = member
        return added


class InvalidChoiceError(PlannerError):
    """A name that an axis does not have."""

    def __init__(self, axis: str, given: object, valid: Iterable[str]) -> None:
        names = list(valid)
        near = nearest_names(given, names) if isinstance(given, str) else ()
        hint = f"did you mean {near[0]}?  (one of {', '.join(names)})" if near else f"one of {', '.join(names)}"
        super().__init__(f"unknown {axis} {shown(str(given) if isinstance(given, str) else given)}", hint)


class ContradictionError(PlannerError):
    """Choices that exclude each other, or that the model does not have."""


# --- options: what a user can say ---


class WholeNumbers(NamedTuple):
    """Values of an option: from `low` to `high`; `usual` is one to name in an error."""

    low: int
    high: int
    usual: int


class Shares(NamedTuple):
    """Values of an option: numbers from `low` to below `high`."""

    low: float
    high: float
    usual: float


class Names(NamedTuple):
    """Values of an option: a keyword, or names of the model's modules."""

    keyword: str
    example: str


Kind: TypeAlias = type[Choice] | WholeNumbers | Shares | Names


class Option(NamedTuple):
    """One thing that a user can say, spelled as in options, JSON and search spaces."""

    name: str
    kind: Kind
    help: str = ""
    phrase: str = "{}"
    """How a sentence about a plan says it."""
    hidden_default: Any = None
    """The value that goes without saying."""
    belongs_to: tuple[Choice, ...] = ()
    """The choices of the axis that it refines; of all, if none are named."""
    monotone: bool = False
    """Whether neither memory nor time ever falls when the value rises, so that what fits with a value fits with all
    smaller ones."""

    def refines(self, choice: object) -> bool:
        return not self.belongs_to or choice in self.belongs_to


Values = Mapping[str, Any]
"""One value by the name of its option."""


def given(values: Values, option: str, default: Any) -> Any:
    """The value of an option, or the default where nothing is said of it. The value itself is not read: it may be
    undecided."""
    value = values.get(option)
    return default if value is None else value


class Axis(NamedTuple):
    """An axis of the space: its choices, the options that refine them, and the value of a strategy that they make."""

    choices: Option
    refinements: tuple[Option, ...] = ()
    join: Callable[[Values], Any] | None = None
    """Makes a strategy's value of the choice and of those refinements that belong to it."""
    split: Callable[[Any], Values] | None = None
    """The inverse."""

    @property
    def name(self) -> str:
        return self.choices.name

    @property
    def options(self) -> tuple[Option, ...]:
        return (self.choices, *self.refinements)

    def refining(self, choice: object) -> list[Option]:
        return [option for option in self.refinements if option.refines(choice)]

    def value(self, values: Values) -> Any:
        return self.join(values) if self.join else values[self.name]

    def to_options(self, value: Any) -> Values:
        return self.split(value) if self.split else {self.name: value}

    def growing(self, choice: object) -> Option | None:
        """The refinement of a choice that only ever costs more, of which there is at most one."""
        return next((option for option in self.refining(choice) if option.monotone), None)

    def combinations(self, space: Callable[[str], tuple[Any, ...]]) -> Iterator[Any]:
        """Every value that the choices and refinements of a space make. `space`: the values of an option."""
        for choice in space(self.name):
            names = [option.name for option in self.refining(choice)]
            for values in product(*map(space, names)):
                yield self.value({self.name: choice, **dict(zip(names, values, strict=True))})


def axis_of(choices: type[Choice], help: str = "", phrase: str = "{}", hidden_default: Any = None) -> Axis:
    """An axis without refinements."""
    return Axis(Option(choices.axis_name(), choices, help, phrase, hidden_default))

"""Defines options, which users set, and axes: choices, the options that refine them, and the values of both."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from strategies.choice import Choice


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


def axis_of(choices: type[Choice], phrase: str = "{}", hidden_default: Any = None) -> Axis:
    """Returns an axis without refinements; the arguments are those of its only `Option`."""
    return Axis(Option(choices.axis_name(), choices, phrase=phrase, hidden_default=hidden_default))

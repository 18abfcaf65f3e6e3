"""Parses what a caller says about each option of a technique: a value, several values or a range."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from hardware import PlannerError
from hardware.errors import shown
from planner.records.asked.arguments import near_arguments
from planner.records.asked.unplanned import answer_about
from strategies import ALL_LINEAR, OPTIONS, LoraTargets, Names, Option, Shares, WholeNumbers
from strategies.sharding import ALIASES

# Patterns are compiled by their first use.
_NUMBER = r"[0-9]{1,20}"
_RANGE = rf"(?P<first>{_NUMBER})\.\.(?P<last>{_NUMBER})(?: (?P<how>step|times) (?P<by>{_NUMBER}))?"
RANGES = "4..64 for each number, 4..64 step 4, 4..64 times 2"
"""Ways to write a range, for the hint of an error."""

MOST_SAID, MOST_VALUES = 2**17, 2**20
"""Most values that a caller may list for an option, and most values that they may be after ranges are expanded.

The longest possible range has 65,537 numbers."""

ALL = "all"
"""Stands for every choice of an axis."""


class RequestError(PlannerError):
    """Reports a request with a value of the wrong type or out of range."""


def parse_axes(given: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns the values of every option that a caller says something about.

    Args:
        given: What the caller says, by the option's name; None and an empty tuple leave an option open.

    Raises:
        InvalidChoiceError: There is no such choice.
        RequestError: There is no such option, a number is out of range, or names are not text.
    """
    check_known(given, OPTIONS)
    given = without_aliases(given)
    return {name: parse_option(OPTIONS[name], said) for name, said in given.items() if not _is_open(said)}


def check_known(given: Iterable[str], known: Collection[str]) -> None:
    """Raises RequestError for the first name that is not known, with the ones that it may mean."""
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        near = near_arguments(unknown, known)
        hint = answer_about(unknown) or (f"did you mean {', '.join(near)}?" if near else f"one of {', '.join(known)}")
        raise RequestError(f"unknown argument {shown(unknown)}", hint)


def without_aliases(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what a caller says with an alias of the sharding axis replaced by what it stands for.

    Raises:
        RequestError: The alias stands beside other values, or another backend is named.
    """
    said = given.get("sharding")
    names = [name for name in several(said) if isinstance(name, str) and name in ALIASES]
    if not names:
        return given
    if len(several(said)) > 1:
        raise RequestError(
            f"sharding {names[0]} sets the backend of all values", "ask for it alone, or name --sharding-backend"
        )
    meant = ALIASES[names[0]]
    backend = given.get("sharding_backend")
    if not _is_open(backend) and several(backend) != (meant["sharding_backend"],):
        others = ", ".join(map(str, several(backend)))
        raise RequestError(
            f"sharding {names[0]} is {meant['sharding_backend']}'s, and sharding_backend is {shown(others)}",
            f"sharding {meant['sharding']} runs under each backend",
        )
    return {**given, **meant}


def _is_open(said: Any) -> bool:
    """Returns whether a caller leaves an option open."""
    return said is None or (isinstance(said, tuple) and not said)


def whole(value: Any) -> Any:
    """Returns a whole number of any type, such as one of numpy, as an int, and anything else unchanged."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    try:
        return operator.index(value)
    except Exception:  # an array of several, or a type of the caller's
        return value


def several(given: Any) -> tuple[Any, ...]:
    """Returns what a caller gives, either one value or a collection of values, as a tuple.

    Raises:
        RequestError: There are more than `MOST_SAID` values.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return (given,)
    try:
        found = tuple(islice(given, MOST_SAID + 1))
    except Exception:  # an array of no dimension, or a type of the caller's
        return (whole(given),)
    if len(found) > MOST_SAID:
        raise RequestError(f"more than {MOST_SAID:,} values are given", "a range says many at once: 4..64")
    return found


def parse_option(option: Option, given: Any) -> tuple[Any, ...]:
    """Returns the values of an option, each once, with ranges and `all` expanded.

    Args:
        option: The option.
        given: A value, several values, or a range.

    Raises:
        InvalidChoiceError: There is no such choice.
        RequestError: A number is out of range, names are not text, or there are more than `MOST_VALUES` values.
    """
    if isinstance(option.kind, Names):
        return tuple(dict.fromkeys(_parse_names(option.name, option.kind, value) for value in _listed_names(given)))
    said = several(given)
    if all(isinstance(value, str | int) for value in said):
        said = tuple(dict.fromkeys(said))  # so that a repeated range is expanded only once
    values = tuple(islice((value for one in said for value in _values(option, one)), MOST_VALUES + 1))
    if len(values) > MOST_VALUES:
        raise RequestError(f"{option.name} has more than {MOST_VALUES:,} values", "narrow its ranges")
    return tuple(dict.fromkeys(values))


def _values(option: Option, given: Any) -> Iterator[Any]:
    """Yields the values that one text or number of a caller stands for."""
    kind = option.kind
    if isinstance(kind, WholeNumbers):
        yield from _whole_numbers(option.name, kind, given)
    elif isinstance(kind, Shares):
        yield _share(option.name, kind, given)
    else:
        assert isinstance(kind, type)
        yield from kind if isinstance(given, str) and given == ALL else (kind.parse(given),)


def _whole_numbers(name: str, kind: WholeNumbers, given: Any) -> Iterator[int]:
    """Yields a number, or those of a range with both ends: `4..64`, `4..64 step 4`, `4..64 times 2`."""
    if isinstance(given, str) and ".." in given:
        numbers: Iterable[Any] = _range(name, kind, given)
    else:
        numbers = (int(given) if isinstance(given, str) and re.fullmatch(_NUMBER, given) else whole(given),)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not kind.low <= number <= kind.high:
            raise RequestError(
                f"{name} is {shown(number)}, not a whole number from {kind.low} to {kind.high}",
                f"{kind.usual} is usual",
            )
        yield number


def _range(name: str, kind: WholeNumbers, text: str) -> Iterator[int]:
    found = re.fullmatch(_RANGE, text.strip())
    if found is None:
        raise RequestError(f"{name} is {shown(text)}, which is no range", RANGES)
    first, last, by = int(found["first"]), int(found["last"]), int(found["by"] or 1)
    if not kind.low <= first <= last <= kind.high:
        raise RequestError(f"{name} is {shown(text)}, not from {kind.low} to {kind.high} upwards", RANGES)
    if by < 1 + (found["how"] == "times"):
        raise RequestError(f"{name} is {text!r}, which never ends", RANGES)
    while first <= last:
        yield first
        first = first * by if found["how"] == "times" else first + by


def _share(name: str, kind: Shares, given: Any) -> float:
    try:
        number = float(given)
    except Exception:  # a type of the caller's may raise anything
        number = -1.0
    if isinstance(given, bool) or not kind.low <= number < kind.high:
        raise RequestError(
            f"{name} is {shown(given)}, not a number from {kind.low:g} to below {kind.high:g}",
            f"{kind.usual:g} is usual",
        )
    return number


def _listed_names(given: Any) -> tuple[Any, ...]:
    """Splits what a caller gives into sets of names.

    `"q_proj,v_proj"` and `["q_proj", "v_proj"]` are one set, `[["q_proj"], "all-linear"]` are two.
    """
    values = several(given)
    if isinstance(given, str):
        return values
    plain = values and all(isinstance(v, str) and "," not in v and v != ALL_LINEAR for v in values)
    return (values,) if plain else values


def _parse_names(name: str, kind: Names, value: Any) -> LoraTargets:
    """Returns one set of names, each once, or the keyword."""
    given = value.split(",") if isinstance(value, str) else several(value)
    names = [text.strip() for text in given if isinstance(text, str) and text.strip()]
    if names == [kind.keyword]:
        return ALL_LINEAR
    if not names or kind.keyword in names or not all(isinstance(text, str) for text in given):
        raise RequestError(f"{name} is {shown(value)}, not names of modules", f"{kind.example} or {kind.keyword}")
    return tuple(dict.fromkeys(names))

"""Reads amounts as people write them: durations, lengths of sequences, and large counts of tokens or samples."""

from __future__ import annotations

import re
from typing import Any, Final

from hardware.errors import shown
from planner.records.asked.axes import RequestError, whole

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_ALSO: Final = {"m": "min", "hr": "h", "sec": "s", "second": "s", "minute": "min", "hour": "h", "day": "d"}
"""Other names of these units; each may end in an s."""
# Patterns are compiled by their first use.
_DURATION: Final = r"(?i)\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[a-z]+)\s*"
_FACTORS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT: Final = r"(?i)\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kmbt]?)\s*"

_LENGTHS: Final = {"": 1, "k": 2**10, "m": 2**20}
"""Tokens of each unit of a length. A model that takes 32k tokens takes 32,768; a data set of 32k tokens has 32,000."""
_INTEGER: Final = r"[-+]?[0-9]{1,40}"
_THOUSANDS: Final = r"[0-9]{1,3}(?:,[0-9]{3})+"


def parse_seconds(name: str, value: Any) -> float | None:
    """Returns a duration in seconds.

    Args:
        name: What it is the duration of, for the error.
        value: A number of seconds, or text such as `90min`, `24h` or `2d`; None stays None.

    Raises:
        RequestError: The value is no duration.
    """
    if value is None:
        return None
    found = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    seconds = float(found["number"]) * _seconds_of(found["unit"].lower()) if found else _number(value)
    if seconds is None or seconds <= 0:
        raise RequestError(f"{name} is {shown(value)}, not a duration", f"{name} is such as 90min, 24h or 2d")
    return seconds


def _seconds_of(unit: str) -> int:
    """Returns the seconds of a unit; 0 if it is none."""
    name = unit if unit in _SECONDS else unit.removesuffix("s")
    return _SECONDS.get(_ALSO.get(name, name), 0)


def spelled_seconds(seconds: float) -> str:
    """Returns a duration as `parse_seconds` reads it: a whole number of the largest unit in which it is one."""
    for unit in ("d", "h", "min", "s"):
        if seconds % _SECONDS[unit] == 0 and (unit, seconds) != ("d", _SECONDS["d"]):  # which people call 24h
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds!r}"


def spelled_count(number: int) -> str:
    """Returns a count as `parse_count` reads it: with a unit where that is shorter, such as `1.5B` or `52k`."""
    for unit in ("t", "b", "m", "k"):
        text = f"{number / _FACTORS[unit]:.12g}"
        if number >= _FACTORS[unit] and "e" not in text and parse_count("", text + unit) == number:
            short = f"{text}{unit if unit == 'k' else unit.upper()}"
            return min(short, str(number), key=len)
    return str(number)


def spelled_share(share: float) -> str:
    """Returns a share as the command line reads it, in percent where that is the same number."""
    percent = f"{share * 100:.12g}"
    return f"{percent}%" if float(percent) / 100 == share else str(share)


def parse_count(name: str, value: Any) -> int | None:
    """Returns a whole number that may be large.

    Args:
        name: What is counted, for the error.
        value: A whole number, or text with a unit such as `10M` or `1.5B`; None stays None.

    Raises:
        RequestError: The value is no such number.
    """
    number = whole(value)
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and number > 0):
        return number
    found = re.fullmatch(_COUNT, number) if isinstance(number, str) else None
    counted = round(float(found["number"]) * _FACTORS[found["unit"].lower()]) if found else 0
    if counted < 1:
        near = meant(number) if isinstance(number, str) else ()
        hint = f"{name} {near[0]}" if near and near[0] else f"{name} is such as 52000, 10M or 1.5B"
        raise RequestError(f"{name} is {shown(value)}, not a number from 1", hint)
    return counted


def parse_length(name: str, value: Any) -> int | None:
    """Returns the tokens of a sequence; what is neither text nor a whole number is returned as it is.

    Args:
        name: What is so long, for the error.
        value: A whole number, or text with a unit such as `4k`, which is 4096; None stays None.

    Raises:
        RequestError: The text is no length.
    """
    number = whole(value)
    if not isinstance(number, str):
        return number  # type: ignore[no-any-return]  # the request refuses other types
    if re.fullmatch(_INTEGER, number.strip()):
        return int(number)  # of which the request checks the range
    found = re.fullmatch(_COUNT, number)
    tokens = float(found["number"]) * _LENGTHS.get(found["unit"].lower(), 0) if found else 0.0
    if tokens < 1 or not tokens.is_integer():
        is_one = re.fullmatch(_THOUSANDS, number.strip())
        near = f"{name} {meant(number)[0]}" if is_one else f"{name} 4k, which is 4096"
        several = "; planner compare and planner sweep take several" if "," in number else ""
        raise RequestError(f"{name} is {shown(value)}, not a length in tokens", f"{near}{several}")
    return int(tokens)


def meant(text: str) -> tuple[int, ...]:
    """Returns the whole numbers that a text may mean which spells none: `4,096`, `4k`, `2.0`; the likeliest first."""
    text = text.strip()
    if re.fullmatch(_THOUSANDS, text):
        return (int(text.replace(",", "")),)
    read = re.fullmatch(_COUNT, text)
    if read is None:
        return ()
    unit, number = read["unit"].lower(), float(read["number"])
    found = dict.fromkeys((number * _FACTORS[unit], number * _LENGTHS.get(unit, _FACTORS[unit])))
    return tuple(int(value) for value in found if value.is_integer())


def parse_dollars(name: str, value: Any) -> float | None:
    """Returns an amount of dollars above 0, which may be text such as `$50` or `50 USD`; None for None.

    Raises:
        RequestError: The value is no such amount.
    """
    if isinstance(value, str):
        value = value.strip().removeprefix("$").removesuffix("$")
        value = value[: -len("usd")] if value.casefold().endswith("usd") else value
    return parse_amount(name, value)


def parse_amount(name: str, value: Any) -> float | None:
    """Returns a number above 0, or None for None; raises RequestError for anything else."""
    if value is None:
        return None
    number = _number(value)
    if number is None or number <= 0:
        raise RequestError(f"{name} is {shown(value)}, not a number above 0", f"{name} is such as 3 or 2.5")
    return number


def _number(value: Any) -> float | None:
    """Returns a finite number, or one that a text spells; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 else None

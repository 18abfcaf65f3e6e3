"""Reads amounts as people write them: durations, and large counts of tokens or samples."""

from __future__ import annotations

import re
from typing import Any, Final

from hardware.errors import shown
from planner.records.axes import RequestError, whole

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>s|min|h|d)\s*")
_FACTORS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT: Final = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kmbt]?)\s*", re.IGNORECASE)


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
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(found["number"]) * _SECONDS[found["unit"]] if found else _number(value)
    if seconds is None or seconds <= 0:
        raise RequestError(f"{name} is {shown(value)}, not a duration", f"{name} is such as 90min, 24h or 2d")
    return seconds


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
    found = _COUNT.fullmatch(number) if isinstance(number, str) else None
    counted = round(float(found["number"]) * _FACTORS[found["unit"].lower()]) if found else 0
    if counted < 1:
        raise RequestError(f"{name} is {shown(value)}, not a number from 1", f"{name} is such as 52000, 10M or 1.5B")
    return counted


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

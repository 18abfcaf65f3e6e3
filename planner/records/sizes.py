"""Reads sizes of memory as people write them."""

from __future__ import annotations

import re
from typing import Final

from hardware.errors import shown
from planner.records.axes import RequestError, whole

_UNITS: Final = {"B": 1} | {
    f"{prefix}{infix}B": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for infix, base in (("", 1000), ("i", 1024))
}
_SIZE: Final = r"(?i)\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[KMGT]?i?B)\s*"  # compiled by its first use
_BARE: Final = r"[0-9]+(?:\.[0-9]+)?"
_BY_KEY: Final = {unit.lower(): size for unit, size in _UNITS.items()}


def parse_bytes(name: str, value: int | str | None) -> int | None:
    """Returns a size in bytes.

    Args:
        name: What it is the size of, for the error.
        value: A number of bytes, or a number with its unit, such as `512GB` (1000^3 bytes) or `480 GiB` (1024^3 bytes).

    Raises:
        RequestError: The text is no size.
    """
    number: int | str | None = whole(value)
    if number is None or (isinstance(number, int) and not isinstance(number, bool)):
        return number
    found = re.fullmatch(_SIZE, number) if isinstance(number, str) else None
    if found is None or found["unit"].lower() not in _BY_KEY:
        is_bare = isinstance(number, str) and re.fullmatch(_BARE, number)
        hint = f"{name} {number}GB, or {number}GiB" if is_bare else f"{name} is such as 512GB or 480GiB"
        raise RequestError(f"{name} is {shown(value)}, not a size", hint)
    return int(float(found["number"]) * _BY_KEY[found["unit"].lower()])


def spelled_bytes(size: int) -> str:
    """Returns a size as `parse_bytes` reads it: a whole number of the largest unit in which it is one."""
    exact = [unit for unit, factor in _UNITS.items() if size and size % factor == 0]
    unit = max(exact, key=lambda unit: _UNITS[unit], default="B")
    return f"{size // _UNITS[unit]}{unit}"

"""Reads and spells sizes of memory as people write them."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = {"B": 1} | {
    f"{prefix}{infix}B": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for infix, base in (("", 1000), ("i", 1024))
}
"""Bytes of each unit: `GB` is 1000^3, `GiB` is 1024^3."""
PATTERN: Final = r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KkMmGgTt]?[Ii]?[Bb])\s*"
"""A number and a unit, as a JSON Schema can say it too; compiled by its first use."""
_BY_KEY: Final = {unit.lower(): size for unit, size in UNITS.items()}
_SPELLED: Final = {unit.lower(): unit for unit in UNITS}


def size_of(text: str) -> int | None:
    """Returns the bytes of a size such as `512GB` or `480 GiB`; None for a text that is no size with a unit."""
    found = re.fullmatch(PATTERN, text)
    return None if found is None else int(float(found[1]) * _BY_KEY[found[2].lower()])


def tidied(text: str) -> str:
    """Returns a size as it is usually spelled, in its own unit: `24GB` for `24 gb`; any other text as it is."""
    found = re.fullmatch(PATTERN, text)
    return text if found is None else f"{found[1]}{_SPELLED[found[2].lower()]}"


def spelled_bytes(size: int) -> str:
    """Returns a size as `size_of` reads it: a whole number of the largest unit in which it is one."""
    exact = [unit for unit, factor in UNITS.items() if size and size % factor == 0]
    unit = max(exact, key=lambda unit: UNITS[unit], default="B")
    return f"{size // UNITS[unit]}{unit}"

"""Reads sizes of memory that callers give."""

from __future__ import annotations

import re
from typing import Final

from hardware.errors import shown
from hardware.sizes import size_of, spelled_bytes
from planner.records.asked.axes import RequestError, whole

__all__ = ["parse_bytes", "spelled_bytes"]

_BARE: Final = r"[0-9]+(?:\.[0-9]+)?"


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
    size = size_of(number) if isinstance(number, str) else None
    if size is None:
        is_bare = isinstance(number, str) and re.fullmatch(_BARE, number)
        hint = f"{name} {number}GB, or {number}GiB" if is_bare else f"{name} is such as 512GB or 480GiB"
        raise RequestError(f"{name} is {shown(value)}, not a size", hint)
    return size

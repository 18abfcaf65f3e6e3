"""Reads how many GPUs a name stands for: `8xH100`, `H100 x 8`, or `H100:8`, as SkyPilot spells it."""

from __future__ import annotations

import re
from typing import Final

_COUNTED: Final = r"(?i)\s*(?:(\d{1,3})\s*[x*]\s*(\S.*?)|(\S.*?(?:[0-9B]\s*x|\s[x*]|\s?:))\s*(\d{1,3}))\s*"
"""A number of GPUs and a name."""


def counted(name: str) -> tuple[int, str] | None:
    """Returns the number of GPUs that stands before or behind a name, and the name alone; None where none does."""
    found = re.fullmatch(_COUNTED, name)
    if found is None:
        return None
    before, named, with_mark, behind = found.groups()
    return int(before or behind), named or with_mark.rstrip(" xX*:")

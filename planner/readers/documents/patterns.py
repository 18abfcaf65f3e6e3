"""Holds what chooses modules by their paths: a regular expression, or names that may have dots."""

from __future__ import annotations

import re
from typing import NamedTuple

from hardware.errors import shown

_LARGEST, _MOST_REPEATS, _MOST_OPTIONS = 1000, 4, 12
"""Characters, unlimited repetitions and options of an expression that is tried: matching a path then takes no time."""
_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\)?[*+{?]\??|.", re.DOTALL)
"""An escape, a class, a repetition with the end of a group before it, or another character."""


class Pattern(NamedTuple):
    """Says which modules are meant."""

    expression: str = ""
    """Regular expression that the whole path has to match; empty for names."""
    names: tuple[str, ...] = ()
    """Ends of paths, whole names between dots."""

    def __str__(self) -> str:
        return shown(self.expression or ", ".join(self.names))

    def matches(self, path: str) -> bool:
        """Returns whether a module of that path is meant."""
        if self.expression:
            return re.fullmatch(self.expression, path) is not None
        return any(path == name or path.endswith(f".{name}") for name in self.names)


def problem_of(expression: str) -> str | None:
    """Returns why a stranger's regular expression is not tried, or None: it is none, or may be matched forever."""
    if len(expression) > _LARGEST:
        return f"is longer than {_LARGEST} characters"
    try:
        re.compile(expression)
    except (re.error, OverflowError, RecursionError):
        return "is no regular expression"
    repeats = [part.rstrip("?") or "?" for part in _PARTS.findall(expression) if part[-1] in "*+{?" and part[0] != "\\"]
    unlimited = [part for part in repeats if not part.endswith(("?", ")"))]
    if (
        any(part.startswith(")") for part in unlimited)
        or len(unlimited) > _MOST_REPEATS
        or len(repeats) > _MOST_OPTIONS
    ):
        return "repeats too much to be tried"
    return None

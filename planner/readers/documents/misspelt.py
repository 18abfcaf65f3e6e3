"""Finds the key that a misspelt one is meant as."""

from __future__ import annotations

from collections.abc import Iterable

_SIMILAR = 0.85
"""Least ratio of difflib for a misspelling, which is one letter in a word of seven: two keys are rarely so close."""


def misspelt(key: str, known: Iterable[str]) -> tuple[str, ...]:
    """Returns the known key that is closest to one, if it is close enough to be a misspelling."""
    from difflib import get_close_matches  # imported here because only files with unknown keys need it

    return tuple(get_close_matches(key, [name for name in known if name != key], 1, _SIMILAR))

"""Reads the file that a command names."""

from __future__ import annotations

from hardware.errors import PlannerError
from planner.readers.documents.source import Source, found_near, read_source
from planner.readers.launching.expansion import Word


def read_named(file: str, word: Word) -> Source:
    """Returns a file that a script names; raises PlannerError if it is not here.

    Args:
        file: The script.
        word: The name.
    """
    path = None if "${" in word.text else found_near(word.text, file)
    if path is None:
        raise PlannerError(f"{file}:{word.line}: {word.text} is not here", "run it where that path begins")
    return read_source(str(path))

"""Reads the file that a command names, or that its script reads without a name."""

from __future__ import annotations

from pathlib import Path

from hardware.errors import PlannerError
from planner.readers.documents.source import Source, found_near, read_source
from planner.readers.launching.expansion import Word

_OF_EXPORT = frozenset({"sequence_length", "batching", "attn_implementation"})
"""Keys that every train.yaml of `planner export` has, whatever divides the model."""


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


def read_beside(file: str, script: str) -> Source | None:
    """Returns the settings that a script of `planner export` reads beside it; None if there are none.

    Args:
        file: The launch script, which is beside them as well.
        script: Name of the program.
    """
    path = Path(file).parent / f"{script}.yaml"
    if script != "train" or not path.is_file():
        return None
    source = read_source(str(path))
    return source if source.data.keys() >= _OF_EXPORT else None

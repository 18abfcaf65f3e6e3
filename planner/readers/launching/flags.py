"""Reads the flags of a command as the keys of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from hardware.files.document import Document
from hardware.files.yaml_text import SafeLoader
from planner.readers.documents.reading import Place
from planner.readers.documents.source import Entry, Language, Source
from planner.readers.launching.expansion import Word


class Flags:
    """Makes keys of the flags of a command, with the lines of a script."""

    def __init__(self, file: str) -> None:
        self.file = file

    def flag(self, name: str, values: list[Word], word: Word) -> tuple[str, Entry]:
        """Returns the key and the value of a flag; `--no-key` is false."""
        if not values and name.startswith("no_") and "=" not in word.text:
            return name.removeprefix("no_"), Entry(False, Place(self.file, word.line, name))
        return name, self.entry(name, values or [Word("true", word.line)])

    def entry(self, name: str, values: list[Word]) -> Entry:
        """Returns the value that words make: a list, if they are several."""
        read = [value_of(word.text) for word in values]
        return Entry(read[0] if len(read) == 1 else read, Place(self.file, values[0].line, name))

    def source(self, flags: Mapping[str, Entry], program: str) -> Source:
        """Returns a source of flags alone; those that are mappings count as nested keys."""
        document = Document(self.file, data={name: entry.value for name, entry in flags.items()})
        for name, entry in flags.items():
            document.place_at((name,), (entry.place.line, 1))
        return Source(self.file, document, "", Language.SHELL, program=program)


def flat(flags: Mapping[str, Entry]) -> dict[str, Entry]:
    """Returns flags whose values are no mappings: keys below one are written with dots."""
    found: dict[str, Entry] = {}
    for name, entry in flags.items():
        inner = entry.value if isinstance(entry.value, dict) else None
        found |= (
            {f"{name}.{key}": Entry(value, entry.place) for key, value in inner.items()} if inner else {name: entry}
        )
    return found


def value_of(text: str) -> Any:
    """Returns the value of a flag: a mapping or list of JSON, else as YAML reads it; text stays text."""
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            pass
    try:
        read = yaml.load(text, Loader=SafeLoader) if len(text) < 200 and "\n" not in text else text
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
        return text
    return read if isinstance(read, bool | int | float) else text

"""Gives a reader the keys of its file, by a table that says which there are; what the table lacks is not understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from hardware.errors import FileError, PlannerError, shown
from hardware.reading import Document, Location, SafeLoader, read_document, read_json
from planner.readers.reading import COMMAND_LINE, Place, Reading, Refusal

_OFF: tuple[Any, ...] = (None, False, "", "none", "no", "false", "auto", [], {})
"""Values with which a key switches nothing on."""


class ConfigFileError(FileError):
    """Reports all problems of a configuration file that cannot be read."""

    subject = "the configuration"
    way_out = "the file has to be the YAML or JSON that the framework itself reads"


class Table(NamedTuple):
    """Describes the keys of a file; those of a nested mapping are written with dots.

    Attributes:
        decides: Keys that decide memory, with the planner's words that they make.
        no_word: Keys of what the planner has no word for, with its name; refused where they switch it on.
        left_out: Keys of what changes memory a little and the account lacks, with its name.
        idle: Keys without an effect on memory.
        idle_prefixes: Beginnings of such keys.
        dead: Keys that nobody reads, with the reason.
        strict: Whether the program itself refuses keys that it does not know.
    """

    decides: Mapping[str, str]
    no_word: Mapping[str, str] = {}
    left_out: Mapping[str, str] = {}
    idle: frozenset[str] = frozenset()
    idle_prefixes: tuple[str, ...] = ()
    dead: Mapping[str, str] = {}
    strict: bool = False

    def knows(self, key: str) -> bool:
        """Returns whether the table says anything about a key."""
        named = (self.decides, self.no_word, self.left_out, self.idle, self.dead)
        return any(key in names for names in named) or key.startswith(self.idle_prefixes)

    def is_section(self, path: str) -> bool:
        """Returns whether keys below a path are keys of their own."""
        every = (*self.decides, *self.no_word, *self.left_out, *self.idle, *self.dead, *self.idle_prefixes)
        return any(key.startswith(f"{path}.") for key in every)


class Entry(NamedTuple):
    """Holds the value of a key and its place."""

    value: Any
    place: Place


class Source(NamedTuple):
    """Holds one file of a run, and what the command line says instead of its keys."""

    file: str
    document: Document
    overrides: Mapping[str, Any] = {}

    @property
    def data(self) -> dict[str, Any]:
        """Returns the mapping that the file holds."""
        return self.document.data if isinstance(self.document.data, dict) else {}

    def line(self, location: Location) -> int:
        """Returns the line of a value, from 1."""
        return self.document.line(location)

    def entries(self, table: Table) -> dict[str, Entry]:
        """Returns every key with its value; keys of the table's sections are written with dots."""
        found = dict(self._flat(self.data, (), table))
        for key, value in self.overrides.items():
            found[key] = Entry(value, Place(COMMAND_LINE, 0, key))
        return found

    def _flat(self, data: Mapping[str, Any], above: Location, table: Table) -> Iterator[tuple[str, Entry]]:
        for name, value in data.items():
            location = (*above, name)
            path = ".".join(map(str, location))
            if isinstance(value, dict) and value and table.is_section(path):
                yield from self._flat(value, location, table)
            else:
                yield path, Entry(value, Place(self.file, self.line(location), path))


def read_source(file: str) -> Source:
    """Returns a file of a run, read as its framework reads it: YAML 1.1, or JSON by its name.

    Raises:
        ConfigFileError: It cannot be read, is no mapping, or has duplicate keys, tags or other problems.
    """
    read = read_json if file.lower().endswith(".json") else read_document
    document = read(file, ConfigFileError)
    if not isinstance(document.data, dict) and document.data is not None:
        document.add_problem((), f"{shown(document.data)} is not a mapping of keys to values")
    elif not document.data:
        document.add_problem((), "has no keys")
    document.raise_problems()
    return Source(file, document)


def parse_override(text: str) -> tuple[str, Any]:
    """Returns key and value of `KEY=VALUE`; the value is read as YAML.

    Raises:
        PlannerError: The text is no such pair, or the value is no plain value.
    """
    key, equals, value = text.lstrip("-").partition("=")
    if not equals or not key:
        raise PlannerError(f"{shown(text)} is not KEY=VALUE", "planner check run.yaml -- micro_batch_size=4")
    try:
        return key, yaml.load(value, Loader=SafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
        raise PlannerError(f"{key} is {shown(value)}, which is not a plain value", f"{key}=4") from None


class Keys:
    """Gives the values of keys, each as the kind that its framework expects.

    A value of another kind is refused and counts as absent, and so does null.
    """

    def __init__(self, source: Source, table: Table, reading: Reading) -> None:
        self._table, self.reading = table, reading
        self.source = source
        self._entries = source.entries(table)

    def entry(self, *names: str) -> Entry | None:
        """Returns the first of the keys that is there and not null."""
        for name in names:
            assert name in self._table.decides, name
            found = self._entries.get(name)
            if found is not None and found.value is not None:
                return found
        return None

    def place(self, *names: str) -> Place | None:
        """Returns where the first of the keys stands."""
        found = self.entry(*names)
        return found and found.place

    def flag(self, *names: str, otherwise: bool = False) -> bool:
        """Returns the value of the first of the keys that is there, which is true or false."""
        found = self.entry(*names)
        if found is None:
            return otherwise
        if isinstance(found.value, bool):
            return found.value
        text = str(found.value).lower()
        if text in ("true", "yes", "1", "on"):  # argparse of transformers and accelerate read these as well
            return True
        if text in ("false", "no", "0", "off", "none"):
            return False
        self._refuse(found, "not true or false")
        return otherwise

    def whole(self, *names: str) -> int | None:
        """Returns the value of the first of the keys that is there, a whole number from 0; None if there is none."""
        found = self.entry(*names)
        if found is None:
            return None
        try:
            number = float(str(found.value).replace("_", ""))
            if not isinstance(found.value, bool) and number == int(number) and 0 <= number < 10**18:
                return int(number)
        except (ValueError, OverflowError):
            pass
        self._refuse(found, "not a whole number")
        return None

    def share(self, *names: str) -> float | None:
        """Returns the value of the first of the keys that is there, a number from 0 to below 1."""
        found = self.entry(*names)
        if found is None:
            return None
        try:
            if not isinstance(found.value, bool) and 0 <= float(found.value) < 1:
                return float(found.value)
        except (TypeError, ValueError, OverflowError):
            pass
        self._refuse(found, "not a number from 0 to below 1")
        return None

    def word(self, *names: str) -> str | None:
        """Returns the value of the first of the keys that is there as text; None if there is none."""
        found = self.entry(*names)
        if found is None:
            return None
        if isinstance(found.value, str | int | float):
            return str(found.value).strip()
        self._refuse(found, "not a name")
        return None

    def names(self, *names: str) -> tuple[str, ...] | None:
        """Returns the value of the first of the keys that is there as names: a list, or text with commas or spaces."""
        found = self.entry(*names)
        if found is None:
            return None
        if isinstance(found.value, str):
            return tuple(found.value.replace(",", " ").split())
        if isinstance(found.value, list) and all(isinstance(name, str) for name in found.value):
            return tuple(found.value)
        self._refuse(found, "not a list of names")
        return None

    def _refuse(self, entry: Entry, expected: str) -> None:
        self.reading.refuse(f"{entry.place.key} is {shown(entry.value)}, {expected}", entry.place)

    def sort_the_rest(self) -> None:
        """Records the keys that the reader does not ask for: by the table, or as not understood."""
        table, reading = self._table, self.reading
        for name, (value, place) in self._entries.items():
            if name in table.decides:
                continue
            if name in table.no_word:
                if is_on(name, value):
                    reading.refuse(table.no_word[name], place)
                else:
                    reading.idle.append(place)
            elif name in table.left_out:
                if is_on(name, value):
                    reading.leave_out(table.left_out[name], place)
                else:
                    reading.idle.append(place)
            elif name in table.idle or name.startswith(table.idle_prefixes):
                reading.idle.append(place)
            elif name in table.dead:
                reading.dead.append(Refusal(table.dead[name], place))
            else:
                reading.unknown.append(place)
        if table.strict and reading.unknown:
            names = ", ".join(place.key for place in reading.unknown)
            reading.refuse(f"keys that the program of this file would refuse: {names}", reading.unknown[0])


def is_on(name: str, value: Any) -> bool:
    """Returns whether a value switches something on: sizes and degrees of 1 and below do not."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value > (1 if name.endswith(("size", "degree")) else 0)
    return value not in _OFF


def words(text: str) -> frozenset[str]:
    """Returns the names in a text, with white space between them."""
    return frozenset(text.split())

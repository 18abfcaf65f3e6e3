"""Reads the files of one run together: launcher, engine and recipe, in this order, since each says less than the next.

A file that another names is read only if it is a JSON file on this machine; nothing is executed or downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from hardware.errors import PlannerError, nearest_names
from planner.readers.keys import Keys, Source, Table, read_source
from planner.readers.reading import Place, Reading
from strategies import Framework


class Role(StrEnum):
    """Names what a file of a run says."""

    LAUNCHER = "launcher"
    ENGINE = "engine"
    RECIPE = "recipe"


class Reader(NamedTuple):
    """Describes how the files of one program are read.

    Attributes:
        name: Name of the program.
        version: The version whose sources its defaults are from.
        role: What its files say.
        table: Its keys.
        signs: Keys of which a file of the program has at least one.
        read: Says what the keys mean.
        framework: The framework's name as a choice of the planner's.
        rows_stay_apart: Whether packed rows of a micro-batch are not joined to one.
    """

    name: str
    version: str
    role: Role
    table: Table
    signs: frozenset[str]
    read: Callable[[Keys, Run], None]
    framework: Framework = Framework.TRANSFORMERS
    rows_stay_apart: bool = False

    def recognizes(self, data: Mapping[str, Any]) -> bool:
        """Returns whether a file is of the program."""
        return not self.signs.isdisjoint(data)


class Run:
    """Holds the files of one run and what they say.

    Args:
        files: Paths of the files.
        readers: Readers, those with the most telling signs first.
        overrides: Values of keys that the command line says.

    Raises:
        PlannerError: A file cannot be read, is of no known program, or there are two of a kind.
    """

    def __init__(self, files: Sequence[str], readers: Sequence[Reader], overrides: Mapping[str, Any]) -> None:
        self.reading = Reading()
        self.files = list(files)
        self._engine = next(reader for reader in readers if reader.role is Role.ENGINE)
        self._found: dict[Role, tuple[Reader, Source]] = {}
        for file in files:
            source = read_source(file)
            reader = _reader_of(source, readers)
            if reader.role in self._found:
                other = self._found[reader.role][1].file
                raise PlannerError(f"{other} and {file} both are a {reader.role} of a run", "check one run at a time")
            self._found[reader.role] = reader, source
        self._override(overrides)
        for role in Role:
            if role in self._found:
                self._read(*self._found[role])

    @property
    def recipe(self) -> Reader | None:
        """Returns the reader of the file that names the model; None if there is none."""
        found = self._found.get(Role.RECIPE)
        return found and found[0]

    def _read(self, reader: Reader, source: Source) -> None:
        keys = Keys(source, reader.table, self.reading)
        reader.read(keys, self)
        keys.sort_the_rest()

    def _override(self, overrides: Mapping[str, Any]) -> None:
        for key, value in overrides.items():
            role = next((role for role in reversed(Role) if self._takes(role, key)), None)
            if role is None:
                known = {name for reader, _ in self._found.values() for name in reader.table.decides}
                near = nearest_names(key, known)
                raise PlannerError(
                    f"no file of this run has a key {key!r}", (near and f"did you mean {near[0]}?") or None
                )
            reader, source = self._found[role]
            self._found[role] = reader, source._replace(overrides={**source.overrides, key: value})

    def _takes(self, role: Role, key: str) -> bool:
        return role in self._found and self._found[role][0].table.knows(key)

    def beside(self, place: Place | None, name: str) -> Path:
        """Returns the path of a file that stands beside the one that names it."""
        return (Path(place.file).parent if place is not None and place.line else Path()) / name

    def refer(self, name: str, place: Place | None) -> None:
        """Reads the DeepSpeed JSON that a key names, unless it is among the files already.

        The path counts from the working directory, as the frameworks have it, else from a directory above the file
        that names it, where a repository's root may be.
        """
        if Role.ENGINE in self._found:
            given = self._found[Role.ENGINE][1].file
            if Path(given).name != Path(name).name:
                self.reading.refuse(f"{name} is named, and {given} is given", place)
            return
        found = self._resolved(name, place)
        if found is None:
            self.reading.refuse(f"{name} is not here: give it as another FILE", place)
            return
        source = read_source(str(found))
        self.files.append(str(found))
        if not self._engine.recognizes(source.data):
            self.reading.refuse(f"{found} is no DeepSpeed configuration", place)
            return
        self._found[Role.ENGINE] = self._engine, source
        self._read(self._engine, source)

    def _resolved(self, name: str, place: Place | None) -> Path | None:
        if not name.lower().endswith(".json"):
            return None
        above = Path(place.file).parents if place is not None and place.line else ()
        try:
            return next((path for folder in (Path(), *above) if (path := folder / name).is_file()), None)
        except (OSError, ValueError):  # a name that no file can have
            return None


def _reader_of(source: Source, readers: Sequence[Reader]) -> Reader:
    for reader in readers:
        if reader.recognizes(source.data):
            return reader
    names = ", ".join(reader.name for reader in readers)
    raise PlannerError(f"{source.file} is of no framework that is read", f"read are files of {names}")

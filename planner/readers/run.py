"""Reads the files of one run together: launcher, engine and recipe, in this order, since each says less than the next.

A file that another names is read only if it is a JSON file on this machine; nothing is executed or downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardware.errors import PlannerError, nearest_names
from planner.readers.allocator import read_allocator
from planner.readers.documents.keys import Keys
from planner.readers.documents.misspelt import misspelt
from planner.readers.documents.reading import Place, Reading
from planner.readers.documents.source import Entry, Source, found_near, read_source, said_in_arguments
from planner.readers.own_arguments import refuse_own
from planner.readers.reader import Reader, Role
from planner.readers.recognized import MODEL, reader_of, reader_of_arguments

_LENGTHS = ("max_length", "model_max_length", "cutoff_len")
"""Keys that say how long sequences are, of which each program that takes a script's flags has one."""


class Run:
    """Holds the files of one run and what they say.

    Args:
        sources: The files.
        readers: Readers, those with the most telling signs first.
        overrides: Values of keys that the command line says.
        ranks: GPUs of all nodes, where the command line says them: some programs are other programs on several.

    Raises:
        PlannerError: A file is of no known program, there are two of a kind, or no file has a key of the command line.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        readers: Sequence[Reader],
        overrides: Mapping[str, Any],
        ranks: int | None = None,
    ) -> None:
        self.reading, self.ranks = Reading(), ranks
        self._engine = next(reader for reader in readers if reader.role is Role.ENGINE)
        self._found: dict[Role, tuple[Reader, Source]] = {}
        for source in sources:
            for what, place in source.refusals:
                self.reading.refuse(what, place)
            reader = reader_of(source, readers)
            if reader.role in self._found:
                other = self._found[reader.role][1].file
                raise PlannerError(
                    f"{other} and {source.file} both are a {reader.role} of a run", "check one run at a time"
                )
            self._found[reader.role] = reader, reader.read_as(source)
        self._unplaced = dict(overrides)
        if Role.RECIPE not in self._found and MODEL in overrides:
            source = said_in_arguments(overrides)
            self._found[Role.RECIPE] = reader_of_arguments(source, readers), source
        for role in reversed(Role):
            if role in self._found:
                self._override(role)
        for role in Role:
            if role in self._found:
                self._read(role)
        read_allocator(self.reading, self.sources)
        self._check_placed()

    @property
    def recipe(self) -> Reader | None:
        """Returns the reader of the file that names the model; None if there is none."""
        found = self._found.get(Role.RECIPE)
        return found and found[0]

    @property
    def said_in(self) -> Source | None:
        """Returns the file that names the model, or the arguments in its place; None if there is none."""
        found = self._found.get(Role.RECIPE)
        return found and found[1]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Returns the files, those that others name included."""
        return tuple(source for _, source in self._found.values())

    @property
    def files(self) -> list[str]:
        """Returns the names of the files."""
        return list(dict.fromkeys(source.file for source in self.sources))

    def meant(self, place: Place) -> str | None:
        """Returns the key of its program that a key which is not understood may be meant as."""
        for reader, source in self._found.values():
            if place.file == source.file or (not place.line and reader.role is Role.RECIPE):
                near = misspelt(place.key, reader.table.decides)
                return near[0] if near else None
        return None

    def entries(self) -> dict[str, Entry]:
        """Returns every key of every file, recipes' in place of others' of the same name."""
        ordered = (self._found[role] for role in Role if role in self._found)
        return {key: entry for reader, source in ordered for key, entry in source.entries(reader.table).items()}

    def source_for(self, key: str) -> Source | None:
        """Returns the file that a key belongs into: the recipe if its program knows it, else engine or launcher."""
        role = next((role for role in reversed(Role) if self._takes(role, key)), None)
        return None if role is None else self._found[role][1]

    def _read(self, role: Role) -> None:
        reader, source = self._found[role]
        keys = Keys(source, reader.table, self.reading)
        reader.read(keys, self)
        keys.sort_the_rest()
        if source.script:
            length = next((key for key in _LENGTHS if key in reader.table.decides), _LENGTHS[0])
            batch = (reader.spelling.numbers.get("micro_batch_size") or ("per_device_train_batch_size",))[0]
            entries = source.entries(reader.table)
            unknown = {place: entries[place.key].value for place in self.reading.unknown if place.key in entries}
            refuse_own(self.reading, source.script, unknown, length, batch)

    def _override(self, role: Role) -> None:
        """Gives a file those values of the command line whose keys its program knows."""
        reader, source = self._found[role]
        taken = {key: value for key, value in self._unplaced.items() if reader.table.knows(key)}
        self._unplaced = {key: value for key, value in self._unplaced.items() if key not in taken}
        self._found[role] = reader, source._replace(overrides={**source.overrides, **taken})

    def _check_placed(self) -> None:
        for key in self._unplaced:
            known = {name for reader, _ in self._found.values() for name in reader.table.decides}
            near = nearest_names(key, known)
            way_out = f"did you mean {near[0]}?" if near else "-- KEY=VALUE with a key of the files' program"
            raise PlannerError(f"no file of this run has a key {key!r}", way_out)

    def _takes(self, role: Role, key: str) -> bool:
        return role in self._found and self._found[role][0].table.knows(key)

    def beside(self, place: Place | None, name: str) -> Path:
        """Returns the path of a file that stands beside the one that names it."""
        return (Path(place.file).parent if place is not None and place.line else Path()) / name

    def refers(self, name: str, place: Place | None) -> bool:
        """Reads the DeepSpeed JSON that a key names if it is among the given files; returns whether it is."""
        given = Role.ENGINE in self._found
        if given:
            self.refer(name, place)
        return given

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
        if not self._engine.recognizes(source.data):
            self.reading.refuse(f"{found} is no DeepSpeed configuration", place)
            return
        self._found[Role.ENGINE] = self._engine, source
        self._override(Role.ENGINE)
        self._read(Role.ENGINE)

    def _resolved(self, name: str, place: Place | None) -> Path | None:
        if not name.lower().endswith(".json"):
            return None
        return found_near(name, place.file if place is not None and place.line else None)

"""Reads one file of a run as its framework does, and flattens it to the keys that a table knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hardware.errors import FileError, shown
from hardware.files.document import Document, Location
from hardware.files.yaml_text import STANDARD_INPUT, read_bytes, read_document, read_json
from planner.readers.documents.interpolation import interpolated
from planner.readers.documents.reading import COMMAND_LINE, Place, Refusal
from planner.readers.documents.table import Table
from planner.readers.documents.toml import read_toml

_PROGRAMS = (".py", ".ipynb")
"""Endings of files that are no configuration, though users bring them."""
_LAUNCHED = (
    'echo "python train.py --max_length 2048 ..." | planner check - reads arguments; planner estimate takes settings'
)
_TEMPLATE = (b"{{", b"{%")
"""Signs of Jinja and of GitHub's expressions, which are no YAML outside of quotes."""


class ConfigFileError(FileError):
    """Reports all problems of a configuration file that cannot be read."""

    subject = "the configuration"
    way_out = "the file has to be the YAML, JSON or TOML that the framework itself reads"


class Language(StrEnum):
    """Names the languages of files, by the endings of their names; YAML is what has no other."""

    YAML = "yaml"
    JSON = "json"
    TOML = "toml"
    SHELL = "sh"


_READ: Mapping[Language, Callable[..., Document]] = {
    Language.YAML: read_document,
    Language.JSON: read_json,
    Language.TOML: read_toml,
}


class Entry(NamedTuple):
    """Holds the value of a key and its place."""

    value: Any
    place: Place


class Source(NamedTuple):
    """Holds one file of a run, and what the command line says instead of its keys."""

    file: str
    document: Document
    text: str
    language: Language
    overrides: Mapping[str, Any] = {}
    root: Location = ()
    """Mapping below which the recipe lies, as in a file of a job."""
    interpolates: bool = False
    """Whether `${other.key}` stands for the value of another key, as OmegaConf has it."""
    flags: Mapping[str, Entry] = MappingProxyType({})
    """What a launch script says instead of the file's keys."""
    program: str = ""
    """Name of the program that a launch script calls; empty where the keys say it."""
    script: str = ""
    """Name of the script of no known program that is launched; its arguments say what it is."""
    environment: Mapping[str, Entry] = MappingProxyType({})
    """Variables of the environment that a launch script sets."""
    refusals: tuple[Refusal, ...] = ()
    """What a launch script makes of the run that there is no word for."""

    @property
    def data(self) -> dict[str, Any]:
        """Returns the mapping that the file holds."""
        return self.document.data if isinstance(self.document.data, dict) else {}

    @property
    def recipe(self) -> dict[str, Any]:
        """Returns the mapping of keys, with the values of others in place of `${...}`."""
        recipe = self.data
        for name in self.root:
            recipe = recipe[str(name)]
        return interpolated(recipe) if self.interpolates else recipe

    def line(self, location: Location) -> int:
        """Returns the line of a value, from 1."""
        return self.document.line((*self.root, *location))

    def entries(self, table: Table) -> dict[str, Entry]:
        """Returns every key with its value; keys of the table's sections are written with dots.

        A section may be the path of a JSON, as transformers takes `fsdp_config`: training_args.py.
        """
        found = {**dict(self._flat(self.recipe, (), table)), **self.flags}
        for path, entry in list(found.items()):
            name = str(entry.value)
            if name.lower().endswith(".json") and table.is_section(path) and (near := found_near(name, self.file)):
                del found[path]
                found = {**read_source(str(near)).entries_below(path, table), **found}
        for key, value in self.overrides.items():
            found[key] = Entry(value, Place(COMMAND_LINE, 0, key))
        return found

    def entries_below(self, section: str, table: Table) -> dict[str, Entry]:
        """Returns the keys of a file that is a section of another one, with dots."""
        return {f"{section}.{key}": entry for key, entry in self._flat(self.data, (), table)}

    def _flat(self, data: Mapping[str, Any], above: Location, table: Table) -> Iterator[tuple[str, Entry]]:
        for name, value in data.items():
            location = (*above, name)
            path = ".".join(map(str, location))
            if isinstance(value, dict) and value and table.is_section(path):
                yield from self._flat(value, location, table)
            else:
                yield path, Entry(value, Place(self.file, self.line(location), path))


def read_source(file: str) -> Source:
    """Returns a file of a run; `-` is standard input.

    Raises:
        ConfigFileError: It cannot be read, is no mapping, or has duplicate keys, tags or other problems.
    """
    return source_named(file, read_bytes(file, ConfigFileError))


def source_named(file: str, content: bytes) -> Source:
    """Returns what a file holds in the language that its name says; `-` is standard input.

    Raises:
        ConfigFileError: It is no mapping, or has duplicate keys, tags or other problems.
    """
    if file == STANDARD_INPUT:
        language = Language.JSON if content.lstrip().startswith(b"{") else Language.YAML
        return source_of("standard input", content, language)
    ending = Path(file).suffix.lower()
    return source_of(file, content, next((each for each in _READ if ending == f".{each}"), Language.YAML))


def found_near(name: str, file: str | None) -> Path | None:
    """Returns a file that another one names: its path counts from the working directory, as programs have it.

    Else it counts from a directory above the file that names it, where a repository's root may be.
    """
    try:
        above = Path(file).absolute().parents if file is not None else ()
        return next((path for folder in (Path(), *above) if (path := folder / name).is_file()), None)
    except (OSError, ValueError):  # a name that no file can have
        return None


def source_of(file: str, content: bytes, language: Language) -> Source:
    """Returns what a file holds, read as its framework reads it: YAML 1.1, JSON or TOML.

    Raises:
        ConfigFileError: It is no mapping, or has duplicate keys, tags or other problems.
    """
    try:
        document = _mapping(file, content, language)
    except ConfigFileError as error:
        if Path(file).suffix.lower() in _PROGRAMS:
            raise ConfigFileError(
                [f"{file}: a Python program is not run, so what it does is not known"], _LAUNCHED
            ) from None
        if any(sign in content for sign in _TEMPLATE):
            raise ConfigFileError(error.problems, "{{ }} and {% %} are of a template: fill it in first") from None
        raise
    return Source(file, document, content.decode(), language)


def _mapping(file: str, content: bytes, language: Language) -> Document:
    document = _READ[language](file, ConfigFileError, content=content)
    if not isinstance(document.data, dict) and document.data is not None:
        document.add_problem((), f"{shown(document.data)} is not a mapping of keys to values")
    elif not document.data:
        document.add_problem((), "has no keys")
    document.raise_problems()
    return document


def said_in_arguments(given: Mapping[str, Any]) -> Source:
    """Returns the recipe of a run whose arguments stand on the command line alone."""
    return Source(COMMAND_LINE, Document(COMMAND_LINE, data=dict(given)), "", Language.SHELL)

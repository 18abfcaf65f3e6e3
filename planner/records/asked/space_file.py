"""Reads a search space from a YAML file, and reports every problem with its line and column."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from hardware import PlannerError
from hardware.errors import FileError, shown
from hardware.files.document import MAX_PROBLEMS, Document, Location
from hardware.files.yaml_text import read_document
from planner.records.asked.arguments import near_arguments
from planner.records.asked.axes import parse_option, without_aliases
from planner.records.asked.unplanned import answer_about
from strategies import OPTIONS

VERSION_KEY = "schema_version"
"""Key of a space's file that is no option and is ignored."""
MOST_TOLD = 200
"""Values of the longest list for which an error says which of them are wrong."""


class SpaceFileError(FileError):
    """Reports all problems of a search space's file that cannot be used."""

    subject = "the search space"
    way_out = "planner space show --gpu T4 lists the options and their values"


def read_space(path: str | Path) -> dict[str, tuple[Any, ...]]:
    """Returns the values of every option in a YAML file, whose keys are options as people spell them.

    Raises:
        SpaceFileError: The file has problems; the error lists all of them, each with its line.
    """
    document = read_document(path, SpaceFileError)
    space = _parsed(document)
    document.raise_problems()
    return space


def _parsed(document: Document) -> dict[str, tuple[Any, ...]]:
    """Returns the values of every option in a file; what cannot be parsed becomes a problem of the document."""
    data = document.data if document.data is not None else {}
    if not isinstance(data, Mapping):
        document.add_problem((), f"must be a mapping of options to their values, not {shown(data)}")
        return {}
    space: dict[str, tuple[Any, ...]] = {}
    said = {key.replace("-", "_"): value for key, value in data.items()}
    try:
        meant = without_aliases(said)
    except PlannerError as error:
        document.add_problem(("sharding",), f"{error.message}; {error.hint}")
        return {}
    for key, value in {**data, **{name: value for name, value in meant.items() if said.get(name) is not value}}.items():
        name = key.replace("-", "_")
        if name == VERSION_KEY:
            continue
        if name not in OPTIONS:
            near = near_arguments(name, OPTIONS)
            way_out = answer_about(name) or (f"did you mean {near[0]}?" if near else _known())
            document.add_problem((key,), f"unknown option; {way_out}")
        elif name in space:
            document.add_problem((key,), f"{name} is given twice")
        elif value is None:
            document.add_problem((key,), "has no values")
        else:
            space[name] = _values(document, key, name, value)
    return space


def _values(document: Document, key: str, name: str, value: Any) -> tuple[Any, ...]:
    """Returns the values of an option; an invalid value of a list becomes a problem at its own place in the file."""
    try:
        return parse_option(OPTIONS[name], value)
    except PlannerError:
        listed = value if isinstance(value, list) and len(value) <= MOST_TOLD else []
        items: dict[Location, Any] = {(key, i): item for i, item in enumerate(listed)}
        found = ((place, message) for place, item in items.items() if (message := _problem(name, item)))
        wrong = dict(islice(found, MAX_PROBLEMS))
        for place, message in (wrong or {(key,): str(_problem(name, value))}).items():
            document.add_problem(place, message)
        return ()


def _problem(name: str, value: Any) -> str | None:
    """Returns what is wrong with a value of an option, or None."""
    try:
        parse_option(OPTIONS[name], value)
    except PlannerError as error:
        return f"{error.message}; {error.hint}"
    return None


def _known() -> str:
    return f"one of {', '.join(OPTIONS)}"

"""Reads TOML as torchtitan does, with the line of each key, and sets keys in its text.

TOML's parser reports no positions: lines are found by the headers of tables and the names before `=`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from hardware.errors import FileError
from hardware.files.document import Document

_TABLE = re.compile(r"\s*\[\s*(?P<path>[^\[\]]+?)\s*\]\s*(#.*)?$")
_KEY = re.compile(r"""\s*(?P<path>[\w-]+(?:\s*\.\s*[\w-]+)*)\s*=\s*(?P<value>.*?)\s*$""")
_VALUE = re.compile(r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|\[[^\[\]#]*\]|[^\s#"'\[\]{}]+)""")
"""A value that ends on its line."""
_PROBLEM = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)$", re.DOTALL)


class _Line(NamedTuple):
    """Holds where a table begins, or a key stands."""

    number: int
    """From 0."""
    path: tuple[str, ...]
    is_table: bool
    start: int
    """Column of the value, from 0."""


def read_toml(file: str, error: type[FileError], *, content: bytes) -> Document:
    """Returns what a TOML file holds.

    Raises:
        FileError: It is not valid TOML.
    """
    document = Document(file, error=error)
    try:
        document.data = tomllib.loads(content.decode())
    except RecursionError:
        document.add_problem((), "nested too deep")
    except ValueError as problem:
        found = _PROBLEM.match(str(problem))
        at = (int(found["line"]), int(found["column"])) if found else (1, 1)
        document.add_problem_at(at, (), f"not valid TOML: {found['what'] if found else problem}")
    document.raise_problems()
    for line in _lines(content.decode()):
        document.place_at(line.path, (line.number + 1, line.start + 1))
    return document


def _lines(text: str) -> Iterator[_Line]:
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines()):
        if found := _TABLE.match(line):
            table = _path(found["path"])
            yield _Line(number, table, True, 0)
        elif found := _KEY.match(line):
            yield _Line(number, (*table, *_path(found["path"])), False, found.start("value"))


def _path(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def toml_rewritten(text: str, path: tuple[str, ...], value: Any) -> str:
    """Returns the text with one key set to a value; comments, order and all other lines stay.

    Args:
        text: Text of the file.
        path: The key, below its tables.
        value: Its new value: true or false, a number, a text, or a list of those.

    Raises:
        ValueError: The old value is spread over lines, or stands in an inline table.
    """
    lines, newline = text.splitlines(), "\r\n" if "\r\n" in text else "\n"
    spelled, found = json.dumps(value), list(_lines(text))
    there = next((line for line in found if line.path == path and not line.is_table), None)
    if there is not None:
        old = lines[there.number]
        whole = _VALUE.match(old, there.start)
        if whole is None:
            raise ValueError(f"the value of {'.'.join(path)} does not end on its line")
        lines[there.number] = old[: there.start] + spelled + old[whole.end() :]
    else:
        inside = [line for line in found if line.path[: len(path) - 1] == path[:-1]]
        last = next((line for line in reversed(inside) if len(line.path) == len(path) or line.is_table), None)
        if last is None:
            lines += ["", f"[{'.'.join(path[:-1])}]", f"{path[-1]} = {spelled}"]
        else:
            lines.insert(last.number + 1, f"{path[-1]} = {spelled}")
    return newline.join(lines) + (newline if text.endswith("\n") else "")

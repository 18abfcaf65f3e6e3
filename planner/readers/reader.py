"""Defines a reader: how the files of one program are known, and what says what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from planner.readers.documents.keys import Keys
from planner.readers.documents.source import Source
from planner.readers.documents.table import Table
from planner.readers.spelling.spelling import Spelling
from strategies import Framework

if TYPE_CHECKING:
    from planner.readers.run import Run


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
        spelling: How its files say settings.
        scripts: Expression that finds the names of scripts, of no known program, which take its keys as flags; None if
            there are none. Another script's flags may have the same names and other meanings.
        root: Key below which the recipe lies in the file of a job; empty if there is no such file.
        interpolates: Whether `${other.key}` stands for the value of another key.
        expands_from: GPUs from which on the program itself asks torch for expandable segments, unless the environment
            says otherwise; None if it never does.
    """

    name: str
    version: str
    role: Role
    table: Table
    signs: frozenset[str]
    read: Callable[[Keys, Run], None]
    framework: Framework = Framework.TRANSFORMERS
    spelling: Spelling = Spelling()
    scripts: str | None = None
    root: str = ""
    interpolates: bool = False
    expands_from: int | None = None

    def recognizes(self, data: Mapping[str, Any]) -> bool:
        """Returns whether a file is of the program."""
        return not self.signs.isdisjoint(data) or self.is_below_root(data)

    def is_of_script(self, script: str) -> bool:
        """Returns whether the arguments of a script of no known program may be of this one."""
        return self.scripts is not None and re.search(self.scripts, script.lower()) is not None

    def is_below_root(self, data: Mapping[str, Any]) -> bool:
        """Returns whether a file is of a job whose recipe is of the program."""
        below = data.get(self.root) if self.root else None
        return isinstance(below, dict) and not self.signs.isdisjoint(below)

    def read_as(self, source: Source) -> Source:
        """Returns a file with its recipe found, and its references understood."""
        root = (self.root,) if self.is_below_root(source.data) else ()
        return source._replace(root=root, interpolates=self.interpolates)

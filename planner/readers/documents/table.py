"""Says of the keys of a file which there are, and what each one means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


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


def words(text: str) -> frozenset[str]:
    """Returns the names in a text, with white space between them."""
    return frozenset(text.split())

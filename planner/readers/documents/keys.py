"""Gives a reader the keys of its file, by a table that says which there are; what the table lacks is not understood."""

from __future__ import annotations

from typing import Any

from hardware.errors import shown
from planner.readers.documents.interpolation import is_open
from planner.readers.documents.reading import Place, Reading, Refusal
from planner.readers.documents.source import Entry, Source
from planner.readers.documents.table import Table

_OFF: tuple[Any, ...] = (None, False, "", "none", "no", "false", "auto", "disabled", [], {})
"""Values with which a key switches nothing on."""


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
            if found is not None and is_open(found.value):
                self._refuse(found, "which nothing in the file says")
            elif found is not None and found.value is not None:
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

    def path_of(self, section: str) -> Entry | None:
        """Returns the entry of a section in whose place stands the path of a file that is not here."""
        found = self._entries.get(section)
        return found if found is not None and isinstance(found.value, str) and found.value else None

    def say_whole(self, word: str, *names: str, otherwise: int, why: str) -> int:
        """Says a whole number, or a default where no key says it, and returns what is said.

        Args:
            word: Name of the setting.
            names: Keys.
            otherwise: The default.
            why: Its source.
        """
        return int(self._say(word, names, self.whole(*names), otherwise, why))

    def say_share(self, word: str, *names: str, otherwise: float, why: str) -> None:
        """Says a number from 0 to below 1, or a default where no key says it."""
        self._say(word, names, self.share(*names), otherwise, why)

    def say_length(self, *names: str) -> bool:
        """Says how many tokens a sequence has, and returns whether one of the keys says so."""
        found = self.entry(*names) is not None
        if found:
            self.reading.say("sequence_length", self.whole(*names), self.place(*names))
        return found

    def _say(self, word: str, names: tuple[str, ...], value: float | None, otherwise: float, why: str) -> float:
        said = otherwise if value is None else value
        self.reading.say(word, said, self.place(*names), why if value is None else "")
        return said

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
            elif name in table.idle or name.startswith(table.idle_prefixes) or is_empty_section(table, name, value):
                reading.idle.append(place)
            elif name in table.dead:
                reading.dead.append(Refusal(table.dead[name], place))
            else:
                reading.unknown.append(place)
        if table.strict and reading.unknown:
            names = ", ".join(place.key for place in reading.unknown)
            reading.refuse(f"keys that the program of this file would refuse: {names}", reading.unknown[0])


def is_empty_section(table: Table, name: str, value: Any) -> bool:
    """Returns whether a key is a section of the table's in which nothing stands."""
    return value in (None, {}) and table.is_section(name)


def is_on(name: str, value: Any) -> bool:
    """Returns whether a value switches something on: sizes and degrees of 1 and below do not, nor does `NO`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value > (1 if name.endswith(("size", "degree")) else 0)
    return (value.lower() if isinstance(value, str) else value) not in _OFF

"""Holds the text of a config.json with the places of its keys, so that every problem has its line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from hardware.errors import FileError, shown
from hardware.files.document import MAX_PROBLEMS, Location, spelled
from hardware.files.json_text import JsonError, decoded, parse_json
from hardware.files.untrusted import UnreadableError, read_file

MAX_FILE_BYTES: Final = 1 << 20
"""Bytes of the largest config.json that is read."""

_TOKEN: Final = re.compile(r'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")(?P<colon>\s*:)?|[][{}]')


class ModelConfigError(FileError):
    """Reports a config.json that cannot be used."""

    subject = "the model configuration"
    way_out = "give a config.json as transformers' save_pretrained writes it"


def read_bytes(file: str, name: str) -> bytes:
    """Returns the bytes of a config.json; raises ModelConfigError, which calls it `name`, if it cannot be read."""
    try:
        return read_file(file, MAX_FILE_BYTES)
    except UnreadableError as error:
        raise ModelConfigError([f"{name}: {error}"]) from None


@dataclass
class ConfigDocument:
    """Holds the text of a config.json, the places of its keys, and the problems found so far."""

    file: str
    content: bytes
    text: str = ""
    _problems: list[tuple[int, str]] = field(default_factory=list)
    _offsets: dict[Location, int] = field(default_factory=dict)

    @property
    def has_problems(self) -> bool:
        """Returns whether any problem has been found."""
        return bool(self._problems)

    def parse(self) -> dict[str, Any]:
        """Returns the file's object; raises ModelConfigError if the file holds none."""
        try:
            self.text = decoded(self.content)
            if not self.text.strip():
                raise ModelConfigError([f"{self.file}: is empty"])
            data = parse_json(self.text)
        except JsonError as error:
            place = f":{error.line}:{error.column}" if error.line else ""
            raise ModelConfigError([f"{self.file}{place}: {error.message}"]) from None
        if not isinstance(data, dict):
            raise ModelConfigError([f"{self.file}: must be an object in braces, not {shown(data)}"])
        self._locate_keys()
        return data

    def _locate_keys(self) -> None:
        """Finds the place of every key, and reports keys that come twice in one object."""
        path: list[str] = []
        seen: list[set[str]] = [set()]
        key = ""
        for token in _TOKEN.finditer(self.text):
            if token["colon"]:
                key = json.loads(token["text"])
                location = (*path[1:], key)
                self._offsets[location] = token.start()
                if key in seen[-1]:
                    self.add_problem(location, "duplicate key")
                seen[-1].add(key)
            elif token[0] in "{[":
                path.append(key)
                seen.append(set())
            elif token[0] in "}]":
                path.pop()
                seen.pop()

    def add_problem(self, location: Location, message: str) -> None:
        """Records a problem at a location.

        The nearest enclosing key that the file has gives the line and column. Raises ModelConfigError once there are as
        many problems as are reported at most.
        """
        known = location
        while known and known not in self._offsets:
            known = known[:-1]
        offset = self._offsets.get(known, -1)
        line, column = self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)
        place = f"{self.file}:{line}:{column}" if known else self.file
        self._problems.append((offset, f"{place}: {spelled(location)}: {message}"))
        if len(self._problems) == MAX_PROBLEMS:
            raise self.error()

    def error(self, hint: str | None = None) -> ModelConfigError:
        """Returns an error with all problems, in the order of the file."""
        return ModelConfigError([problem for _, problem in sorted(self._problems)], hint)

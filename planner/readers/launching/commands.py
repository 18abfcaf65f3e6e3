"""Splits a shell script into commands and words, with the values of its own variables, as bash would; nothing runs.

What only running the script would say stays open: `${NAME}` of the environment, `$1`, the output of a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from planner.readers.launching.expansion import Word, expanded
from planner.readers.launching.pieces import Piece, split_words

_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)(?P<more>\+?)=(?P<value>.*)", re.DOTALL)
_DECLARES = frozenset({"export", "declare", "local", "readonly"})
_OPENERS = frozenset({"then", "do", "else", "if", "elif", "while", "!", "{", "time"})


class Command(NamedTuple):
    """Holds a command: its environment, and its words."""

    environment: dict[str, str]
    words: list[Word]


def commands(text: str) -> Iterator[Command]:
    """Yields the commands of a script in the order of its lines, whatever conditions and loops stand around them."""
    known: dict[str, list[str]] = {}
    for pieces in split_words(text):
        words = [word for each, line in pieces for word in expanded(each, line, known)]
        while words and words[0].text in _OPENERS:
            del words[0]
        declares = bool(words) and words[0].text in _DECLARES
        environment: dict[str, str] = {}
        rest = words[1:] if declares else words
        while rest and (found := _ASSIGNMENT.fullmatch(rest[0].text)) is not None:
            environment[found["name"]] = found["value"]
            rest = rest[1:]
        if not rest or declares:
            _assign(known, environment, pieces)
        else:
            exported = {name: " ".join(values) for name, values in known.items()}
            yield Command({**exported, **environment}, rest)


def _assign(known: dict[str, list[str]], values: dict[str, str], pieces: list[tuple[list[Piece], int]]) -> None:
    """Keeps the values of variables; an array's items stand in parentheses."""
    raw = [part for each, _ in pieces for part in each]
    arrays = next((part.text for part in raw if part.quote == "("), None)
    for name, value in values.items():
        if arrays is None:
            known[name] = [value]
            continue
        items = [word.text for line in split_words(arrays) for each, at in line for word in expanded(each, at, known)]
        grown = any(f"{name}+=" in part.text for part in raw)
        known[name] = [*known.get(name, []), *items] if grown else items

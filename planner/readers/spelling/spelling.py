"""Defines how a program spells settings, and spells changes of a run in the keys of its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from planner.readers.spelling.engine import ENGINE_WORDS, engine_keys


class Also(str):
    """Stands for a list with one more name."""

    __slots__ = ()


class IfThere(NamedTuple):
    """Stands for a value of a key that the file has; a key that it has not stays absent."""

    value: Any


class Spelling(NamedTuple):
    """Holds the keys of a program that say settings.

    Attributes:
        numbers: Keys of each setting that is a number: the one that is there is used, else the first; none at all where
            it follows from the others.
        choices: Keys and values of each setting with its choice.
    """

    numbers: Mapping[str, tuple[str, ...]] = {}
    choices: Mapping[tuple[str, Any], Mapping[str, Any]] = {}


def spelled(spelling: Spelling, says: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the keys and values that say settings, those that are there already left out.

    Args:
        spelling: Keys of the program.
        says: Settings in the planner's words.
        there: Keys and values of the run's files.

    Returns:
        The keys; None if the program has none for one of the settings.
    """
    keys: dict[str, Any] = {}
    for word, value in says.items():
        found: Mapping[str, Any] | None
        if word in spelling.numbers:
            names = spelling.numbers[word]
            found = {next((name for name in names if name in there), names[0]): value} if names else {}
        else:
            found = spelling.choices.get((word, value))
        if found is None and word in ENGINE_WORDS:
            found = engine_keys(word, value, there)
        if found is None:
            return None
        keys |= found
    made = {key: _made(value, there.get(key)) for key, value in keys.items() if _is_due(key, value, there)}
    return {key: value for key, value in made.items() if key not in there or value != there[key]}


def _is_due(key: str, value: Any, there: Mapping[str, Any]) -> bool:
    return not isinstance(value, IfThere) or key in there


def _made(value: Any, old: Any) -> Any:
    """Returns the value of a key; a list that holds the name of an `Also` stays as it is."""
    if isinstance(value, IfThere):
        return value.value
    if not isinstance(value, Also):
        return value
    names = [old] if isinstance(old, str) else list(old or ())
    return names if value in names else [*names, str(value)]

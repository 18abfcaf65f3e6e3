"""Writes changes of a run into the texts of its files, and shows them as diffs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from copy import deepcopy
from difflib import unified_diff
from typing import Any

import yaml

from hardware.errors import FileError
from planner.readers.documents.rewriting import rewritten
from planner.readers.documents.source import Language, Source, source_of
from planner.readers.documents.toml import toml_rewritten
from planner.readers.run import Run

_CONTEXT = 2
"""Lines around a change in a diff."""


def said_by_command(run: Run, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those keys of a change that arguments say: the recipe is a command's, and has no file.

    Keys of sections and lists are not among them, as each program has its own words for these.
    """
    recipe = run.said_in
    if recipe is None or recipe.language is not Language.SHELL:
        return {}
    plain = {key: value for key, value in keys.items() if "." not in key and isinstance(value, str | int | float)}
    return {key: value for key, value in plain.items() if run.source_for(key) is recipe}


def arguments(keys: Mapping[str, Any]) -> str:
    """Returns keys as arguments of a command; flags get a value, which transformers' parser takes."""
    return " ".join(
        f"--{key} {str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))}"
        for key, value in keys.items()
    )


def new_texts(run: Run, keys: Mapping[str, Any]) -> dict[str, str] | None:
    """Returns the text of each file that a change touches, by its name; None if its text cannot be changed so.

    The new text is read again, and has to hold the old data but for the changed keys.
    """
    texts: dict[str, str] = {}
    for source in run.sources:
        mine = {key: value for key, value in keys.items() if run.source_for(key) is source}
        if mine and (source.language is Language.SHELL or mine.keys() & source.flags.keys()):
            return None  # a command says it
        if mine:
            text = _rewritten(source, mine)
            if text is None:
                return None
            texts[source.file] = text
    return texts


def _rewritten(source: Source, keys: Mapping[str, Any]) -> str | None:
    text, data = source.text, deepcopy(source.data)
    try:
        for key, value in keys.items():
            path = (*map(str, source.root), *key.split("."))
            if source.language is Language.TOML:
                text = toml_rewritten(text, path, value)
            else:
                is_json = source.language is Language.JSON
                text = rewritten(text, path, value, is_json=is_json, beside=_beside(key, keys))
            _put(data, path, value)
        read = source_of(source.file, text.encode(), source.language)
    except (ValueError, yaml.YAMLError, FileError):
        return None
    return text if read.data == data else None


def _beside(key: str, keys: Mapping[str, Any]) -> list[str]:
    """Returns the other keys of a change in the same mapping, beside which a new key stands best."""
    above, _, name = key.rpartition(".")
    others = [other.rpartition(".") for other in keys]
    return [last for prefix, _, last in others if prefix == above and last != name]


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *above, name = path
    for part in above:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ValueError(f"{part} is no mapping")
    data[name] = value


def diff(run: Run, texts: Mapping[str, str]) -> str:
    """Returns the unified diff of a run's files and new texts."""
    old = {source.file: source.text for source in run.sources}
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for file, text in texts.items()
        for line in unified_diff(
            old[file].splitlines(keepends=True), text.splitlines(keepends=True), file, file, n=_CONTEXT
        )
    )

"""Fills in OmegaConf's `${other.key}`, which torchtune and llm-foundry resolve when a file is read."""

from __future__ import annotations

import re
from typing import Any

_REFERENCE = re.compile(r"\$\{([^${}:]+)\}")
_DEEPEST = 10
"""Longest chain of references."""
_LONGEST = 10_000
"""Most characters of a text in which references are filled in: references of references would multiply it."""


def interpolated(data: dict[str, Any]) -> dict[str, Any]:
    """Returns a mapping whose references stand for the values of other keys, which are named from its root.

    A reference to nothing, to itself or to the environment (`${oc.env:NAME}`) stays as it is: readers refuse such a
    value where it decides memory.
    """
    filled = _filled(data, data, 0)
    assert isinstance(filled, dict)
    return filled


def is_open(value: Any) -> bool:
    """Returns whether a value still has a reference."""
    return isinstance(value, str) and "${" in value


def _filled(value: Any, root: dict[str, Any], depth: int) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, root, depth) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, root, depth) for inner in value]
    if not is_open(value) or depth == _DEEPEST:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        found = _at(root, whole[1])
        # A mapping that a reference means may hold the reference: it stays as it is.
        return value if isinstance(found, dict | list) or found is _NOTHING else _filled(found, root, depth + 1)

    def text(match: re.Match[str]) -> str:
        found = _at(root, match[1])
        return match[0] if isinstance(found, dict | list) or found in (_NOTHING, None) else str(found)

    made = _REFERENCE.sub(text, value)
    return value if made == value or len(made) > _LONGEST else _filled(made, root, depth + 1)


_NOTHING = object()


def _at(root: dict[str, Any], path: str) -> Any:
    found: Any = root
    for name in path.strip().split("."):
        if not isinstance(found, dict) or name not in found:
            return _NOTHING
        found = found[name]
    return found

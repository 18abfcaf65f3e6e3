"""Finds the registry's model whose name and size stand in the name of one that nobody knows."""

from __future__ import annotations

import re

from planner.models.registered import registry_models

_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[mb]")
"""A part of a name that is a number of parameters: `70b`, `8x7b`, `270m`."""


def closest_model(name: str) -> str | None:
    """Returns the registry's name of which all parts stand in a model's name, in their order, with the same size.

    `llama-3-70b` is that of `somebody/llama-3-70b-fp16`. A name without a size, or with several, has none: a model
    of another size would be planned wrongly.
    """
    parts = _parts(name)
    sizes = [part for part in parts if _SIZE.fullmatch(part)]
    if len(sizes) != 1:
        return None
    names = [known for entry in registry_models() for known in entry.names if "/" not in known]
    found = [known for known in names if sizes[0] in _parts(known) and _stands_in(_parts(known), parts)]
    return max(found, key=lambda known: (len(_parts(known)), known), default=None)


def _parts(name: str) -> list[str]:
    return re.split(r"[-_ ]", name.rpartition("/")[2].lower())


def _stands_in(few: list[str], many: list[str]) -> bool:
    """Returns whether the parts of one name stand in another, in their order and from its first one."""
    rest = iter(many)
    return few[0] == many[0] and all(part in rest for part in few)

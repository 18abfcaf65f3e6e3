"""Says what is wrong with the name of a model that nobody knows, and what the user may mean.

The module is imported only when there is an error.
"""

from __future__ import annotations

import re

from hardware.errors import PlannerError, UnknownNameError, normalized, shown
from planner.models.names.other_kinds import other_kind
from planner.models.registered import by_name, entries, registered

_EVERY = ("all", "any", "every", "*")
"""Words for every model, none of which is planned alone."""


def unknown_model(text: str) -> UnknownNameError:
    """Returns the error of a name that is of no model, with the way out."""
    if text.casefold() in _EVERY:
        error = UnknownNameError("model", text, ())
        error.reword(
            f"{shown(text)} is no model, and this plans one at a time",
            "planner sweep all --gpu NAME plans every model of the registry, planner sweep MODEL... several",
        )
        return error
    is_id = "/" in text
    known = [name for entry in entries() for name in entry.names if ("/" in name) == is_id]
    error = UnknownNameError("model", text, known, same=lambda name: by_name()[normalized(name)].name)
    if other := other_kind(text, lambda name: registered(name) is not None):
        error.reword(f"{text} is {other.kind}, and {other.why}", other.way_out)
        return error
    if (gpu := _gpu_of(text)) is not None:
        error.reword(
            f"unknown model {shown(text)}",
            f"{text} is a GPU: --gpu {gpu}; several are one value, with commas between them",
        )
        return error
    if text.isdecimal():
        error.hint = f"{text}B is a model of that size; planner models lists those that are known by name"
        return error
    others = [f"hf:{text} reads it from the Hugging Face Hub"] if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else []
    if not error.suggestions:
        others.append("a path to a config.json" + ("" if others else ", hf:org/name") + " or a size such as 7B will do")
    error.hint = "; ".join([str(error.hint), *others])
    return error


def _gpu_of(text: str) -> str | None:
    """Returns the name of the GPU that a name is of; None if it is of none, or the catalog has problems."""
    from hardware import load_catalog

    try:
        return load_catalog().get(text).name
    except PlannerError:
        return None

"""Completes functions that share arguments: with their defaults, and their lines in the signature and documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar, cast

from planner.records.asked.axes import check_known
from strategies import OPTIONS

F = TypeVar("F", bound=Callable[..., Any])

ASKED: Final = "asked"
"""Name of the parameter with the arguments of the TypedDict."""


def question(takes: type[Any]) -> Callable[[F], F]:
    """Returns a decorator for a function that takes the arguments of a TypedDict as `**asked`.

    The function finds a value of each of them in `asked`, and in addition the options of techniques that are given.
    Its signature and its documentation list them. Unknown keywords raise RequestError, with the nearest name.

    Args:
        takes: The TypedDict.
    """
    shared = {
        name: (_text(annotation), annotation.__metadata__[0])
        for name, annotation in takes.__annotations__.items()
        if hasattr(annotation, "__metadata__")
    }
    defaults = {name: argument.default for name, (_, argument) in shared.items()}

    def decorated(function: F) -> F:
        *own, asked = inspect.signature(function).parameters.values()
        known = (*(parameter.name for parameter in own), *shared, *OPTIONS)

        @wraps(function)
        def ask(*positional: Any, **said: Any) -> Any:
            check_known(said, known)
            return function(*positional, **{**defaults, **said})

        kind = inspect.Parameter.KEYWORD_ONLY
        of_all = [
            inspect.Parameter(name, kind, default=argument.default, annotation=text)
            for name, (text, argument) in shared.items()
        ]
        everything = [*own, *of_all, asked.replace(annotation="Unpack[Options]")]
        result = inspect.signature(function).return_annotation
        ask.__dict__["__signature__"] = inspect.Signature(everything, return_annotation=result)
        lines = "".join(f"{name}: {argument.meaning}\n        " for name, (_, argument) in shared.items())
        ask.__doc__ = (function.__doc__ or "").replace(f"{ASKED}: ", f"{lines}{ASKED}: ", 1)
        return cast("F", ask)

    return decorated


def options_in(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of techniques among the arguments of a question."""
    return {name: value for name, value in asked.items() if name in OPTIONS}


def _text(annotation: Any) -> str:
    """Returns the type of an argument as it is written, without the modules of its names."""
    return re.sub(r"\b[\w.]+\.(?=\w)", "", inspect.formatannotation(annotation.__origin__))

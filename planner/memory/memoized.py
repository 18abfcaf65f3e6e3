"""Helpers that avoid repeated work: methods that compute each result once, and identical objects counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def memoized(method: Callable[P, R]) -> Callable[P, R]:
    """Makes a method remember its results by its positional arguments, for as long as its instance lives.

    The arguments must be hashable.

    Raises:
        TypeError: An argument is given by its name, which is not part of the key.
    """
    name = method.__name__

    @wraps(method)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> R:
        if kwargs:
            raise TypeError(f"{name} remembers by position: {', '.join(kwargs)} is given by name")
        instance: Any = args[0]
        table: dict[Hashable, R] = instance.__dict__.setdefault(f"_{name}_results", {})
        key = args[1:]
        if key not in table:
            table[key] = method(*args, **kwargs)
        return table[key]

    return remembered


def counted(items: list[R] | tuple[R, ...]) -> list[tuple[R, int]]:
    """Returns the distinct objects, compared by identity, with the number of times that each occurs."""
    counts: dict[int, tuple[R, int]] = {}
    for item in items:
        counts[id(item)] = (item, counts.get(id(item), (item, 0))[1] + 1)
    return list(counts.values())

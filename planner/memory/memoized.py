"""Avoids repeated work: methods that compute each result once, and identical objects counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

_RESULTS = "_remembered"
_MISSING: Any = object()
"""Stands for a result that is not known yet, since None may be one."""

P = ParamSpec("P")
R = TypeVar("R")
Results = dict[str, dict[Hashable, Any]]
"""Results of an instance's memoized methods, by the method's name and its arguments."""


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
        table: dict[Hashable, R] = results_of(instance).setdefault(name, {})
        key = args[1:]
        known: R = table.get(key, _MISSING)  # a key of many fields is hashed once where the result is known
        if known is _MISSING:
            known = table[key] = method(*args, **kwargs)
        return known

    return remembered


def results_of(instance: object) -> Results:
    """Returns what an instance remembers, by the name of the method."""
    results: Results = instance.__dict__.setdefault(_RESULTS, {})
    return results


def remember_in(instance: object, results: Results) -> None:
    """Makes an instance remember where others do whose memoized methods give the same results."""
    instance.__dict__[_RESULTS] = results


def counted(items: list[R] | tuple[R, ...]) -> list[tuple[R, int]]:
    """Returns the distinct objects, compared by identity, with the number of times that each occurs."""
    counts: dict[int, tuple[R, int]] = {}
    for item in items:
        counts[id(item)] = (item, counts.get(id(item), (item, 0))[1] + 1)
    return list(counts.values())

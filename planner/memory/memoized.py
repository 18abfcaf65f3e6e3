"""Results that are computed once, and equal objects that are counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def memoized(method: Callable[P, R]) -> Callable[P, R]:
    """Remembers a method's results by its arguments, for as long as its instance lives."""
    name = method.__name__

    @wraps(method)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> R:
        instance: Any = args[0]
        table: dict[Hashable, R] = instance.__dict__.setdefault(f"_{name}_results", {})
        key = args[1:]
        if key not in table:
            table[key] = method(*args, **kwargs)
        return table[key]

    return remembered


def counted(items: list[R] | tuple[R, ...]) -> list[tuple[R, int]]:
    """Distinct objects and how often each occurs."""
    counts: dict[int, tuple[R, int]] = {}
    for item in items:
        counts[id(item)] = (item, counts.get(id(item), (item, 0))[1] + 1)
    return list(counts.values())

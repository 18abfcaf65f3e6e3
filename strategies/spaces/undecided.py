"""Stands in for option values that are not decided yet.

A rule that reads such a value is stopped by `UndecidedError`. This shows which options it reads without declarations.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class UndecidedError(Exception):
    """Reports that a rule has read `option`, which is not decided."""

    def __init__(self, option: str) -> None:
        super().__init__(option)
        self.option = option


class Undecided:
    """Takes the place of an option's value in a strategy, or in the value of an axis.

    Comparing, hashing, testing or printing it raises UndecidedError.
    """

    __slots__ = ("option",)

    def __init__(self, option: str) -> None:
        self.option = option

    def _read(self) -> NoReturn:
        raise UndecidedError(self.option)

    def __eq__(self, other: object) -> bool:
        self._read()

    def __hash__(self) -> int:
        self._read()

    def __bool__(self) -> bool:
        self._read()

    def __str__(self) -> str:
        self._read()


def watched(value: T) -> T:
    """Returns an equal tuple that raises UndecidedError as soon as an undecided field is read.

    Reading has to raise, because later uses of the value, such as a comparison by `is`, cannot be intercepted.

    Args:
        value: A strategy or the value of an axis. It is returned unchanged if no field of it is undecided.
    """
    if not isinstance(value, tuple) or not any(isinstance(field, Undecided) for field in value):
        return value
    same: T = tuple.__new__(_watched_type(type(value)), value)
    return same


class _Watched(tuple[Any, ...]):
    """Checks each field that is read; it precedes the tuple type in the method resolution order."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        return _decided(super().__getattribute__(name))

    def __getitem__(self, place: Any) -> Any:
        return _decided(super().__getitem__(place))

    def __iter__(self) -> Iterator[Any]:
        return map(_decided, super().__iter__())


@cache
def _watched_type(kind: type) -> type:
    return type(kind.__name__, (_Watched, kind), {"__slots__": ()})


def _decided(value: Any) -> Any:
    """Returns the value; raises UndecidedError if it is undecided."""
    if isinstance(value, Undecided):
        raise UndecidedError(value.option)
    return value

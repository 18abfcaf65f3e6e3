"""Values that are not decided yet: a rule that reads one is stopped, so that nobody has to declare what rules read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class UndecidedError(Exception):
    """A rule has read an option that is not decided."""

    def __init__(self, option: str) -> None:
        super().__init__(option)
        self.option = option


class Undecided:
    """Takes the place of an option's value in a strategy, or in the value of an axis."""

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
    """A strategy, or the value of an axis, that raises UndecidedError when a field of it is read that is undecided.

    The reading itself raises: what a rule then does with a value, `is` for one, cannot be watched.
    """
    if not isinstance(value, tuple) or not any(isinstance(field, Undecided) for field in value):
        return value
    same: T = tuple.__new__(_watched_type(type(value)), value)
    return same


class _Watched(tuple[Any, ...]):
    """What comes before a type of tuples in the order in which Python looks for attributes."""

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
    if isinstance(value, Undecided):
        raise UndecidedError(value.option)
    return value

"""Describes what happens around a block relative to it, and says what two equal blocks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Address(NamedTuple):
    """Addresses a storage relative to its block."""

    section: int
    """Index of the section that allocates the storage."""
    visit: int
    """How often the section was at the block before."""
    ordinal: int
    """Number of storages allocated before in the same visit."""


class Seen(NamedTuple):
    """Describes an event around a block relative to it."""

    size: int
    """Bytes allocated (> 0) or freed (< 0)."""
    address: Address | None = None
    """Address of the storage that is freed; None for an allocation, and for a storage of no block of the run."""
    distance: int = 0
    """Number of blocks from this one to that of the storage."""
    other: int = 0
    """The storage that is freed, if it is of no block of the run; 0 otherwise."""
    is_inner: bool = False
    """Whether the storage is of a middle block of the run."""


def in_common(one: Sequence[Seen], other: Sequence[Seen]) -> list[Seen] | None:
    """Returns the events that two middle blocks have in common; None if they do not allocate and free alike.

    The first and the last block of a run may allocate more or less than the others, so that a storage has another
    ordinal there. Where one middle block frees a storage of the other, and the other one that of a block at the end,
    the ordinal in the middle block counts: omitted blocks have only such neighbours.
    """
    if len(one) != len(other):
        return None
    found = []
    for a, b in zip(one, other, strict=True):
        if a.is_inner == b.is_inner:
            if a != b:
                return None
            found.append(a)
            continue
        inner, at_end = (a, b) if a.is_inner else (b, a)
        if _without_ordinal(inner) != _without_ordinal(at_end):
            return None
        found.append(inner)
    return found


def _without_ordinal(seen: Seen) -> Seen:
    address = seen.address
    return seen._replace(address=address and address._replace(ordinal=0), is_inner=True)

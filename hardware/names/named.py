"""Holds the entries of one kind of a catalog, which are found by name or alias and validated when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from hardware.errors import normalized


class Entry(Protocol):
    """Describes what all entries have."""

    @property
    def name(self) -> str:
        """Returns the canonical name."""
        ...

    @property
    def aliases(self) -> tuple[str, ...]:
        """Returns the other names."""
        ...


E = TypeVar("E", bound=Entry)


def name_key(name: str) -> str:
    """Returns a GPU's or machine's name in the form in which names are compared.

    It has no vendor in front: torch and nvidia-smi put one there, catalogs do not.
    """
    return normalized(name).removeprefix("nvidia").removeprefix("amd")


def claim_names(owners: dict[str, str], name: str, aliases: tuple[str, ...]) -> Iterator[tuple[int | None, str]]:
    """Enters the names of an entry in `owners`, and yields those that are taken.

    Args:
        owners: Canonical name by key (see `name_key`); it is changed.
        name: Canonical name of the entry.
        aliases: Its other names.

    Yields:
        The index of a taken alias, None for `name` itself, and the canonical name of the entry that has it.
    """
    for index, alias in enumerate((name, *aliases), start=-1):
        owner = owners.setdefault(name_key(alias), name)
        if owner != name:
            yield (None if index < 0 else index), owner


class Named(Generic[E]):
    """Holds entries by name; one that is not parsed yet is made when it is asked for."""

    __slots__ = ("_entries", "_make", "owners")

    def __init__(self, make: Callable[[str], E]) -> None:
        """Makes a collection without entries.

        Args:
            make: Returns the entry of a canonical name that `promise` has entered.
        """
        self._entries: dict[str, E | None] = {}
        self._make = make
        self.owners: dict[str, str] = {}

    def add(self, entries: Iterable[E]) -> list[str]:
        """Adds entries; one of a name that is there takes its place. Returns the names that belong to another."""
        problems: list[str] = []
        added: set[str] = set()
        for entry in entries:
            owners = [entry.name] if entry.name in added else []
            owners += [owner for _, owner in claim_names(self.owners, entry.name, entry.aliases)]
            problems += [f"{entry.name}: one of its names already belongs to {owner}" for owner in owners]
            added.add(entry.name)
            self._entries[entry.name] = entry
        return problems

    def promise(self, name: str, aliases: Iterable[str]) -> None:
        """Enters the names of an entry that is made when it is asked for."""
        self._entries[name] = None
        for alias in (name, *aliases):
            self.owners[name_key(alias)] = name

    def without(self, names: Iterable[str]) -> Named[E]:
        """Returns a copy in which names and aliases of some entries are free, to be replaced in their places."""
        copy: Named[E] = Named(self._make)
        copy._entries, gone = dict(self._entries), set(names)
        copy.owners = {key: owner for key, owner in self.owners.items() if owner not in gone}
        return copy

    def find(self, name: str) -> E | None:
        """Returns the entry with a name or alias, or None."""
        canonical = self.owners.get(name_key(name))
        return None if canonical is None else self._made(canonical)

    def _made(self, canonical: str) -> E:
        entry = self._entries[canonical]
        if entry is None:
            entry = self._entries[canonical] = self._make(canonical)
        return entry

    def all(self) -> tuple[E, ...]:
        """Returns all entries, in the order of the file."""
        return tuple(map(self._made, self._entries))

    def names(self) -> tuple[str, ...]:
        """Returns the canonical names, in the order of the file."""
        return tuple(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

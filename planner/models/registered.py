"""Knows the entries of the registry: the built-in ones and those of plug-ins, by each of their names."""

from __future__ import annotations

from functools import cache
from typing import Final

from hardware.errors import PlannerError, normalized
from planner.models.entries import RegistryModel, registry_entries

_MIRRORS: Final = ("unsloth", "nousresearch")
"""Organizations that publish models of others again, under the same names."""
IN_4_BITS: Final = "-bnb-4bit"
"""The end of the name of a model whose weights are stored as bitsandbytes quantizes them."""

_added: Final[list[RegistryModel]] = []


@cache
def entries() -> tuple[RegistryModel, ...]:
    """Returns all entries: those of the built-in registry, then those that were added."""
    return (*registry_entries(), *_added)


@cache
def registry_models() -> tuple[RegistryModel, ...]:
    """Returns the models of the registry that a family describes, none of them built."""
    return tuple(entry for entry in entries() if entry.num_parameters is None)


@cache
def replayed_models() -> tuple[RegistryModel, ...]:
    """Returns the models of the registry that no family describes; replays plan them."""
    return tuple(entry for entry in entries() if entry.num_parameters is not None)


def add(entry: RegistryModel) -> None:
    """Adds an entry, for as long as the process lives.

    Raises:
        PlannerError: The registry has one of its names already.
    """
    if taken := [known for known in entry.names if registered(known)]:
        raise PlannerError(f"the registry has a model {taken[0]!r} already", "give it another name")
    _added.append(entry)
    for kept in (entries, registry_models, replayed_models, as_spelled, by_name, _without_organization):
        kept.cache_clear()


def registered(name: str) -> RegistryModel | None:
    """Returns the entry of a name; an id is found without its organization, too, unless that is another's name."""
    if entry := as_spelled().get(name):  # the forms of all names take a millisecond
        return entry
    key = normalized(name)
    return by_name().get(key) or _without_organization().get(key)


def mirrored(name: str) -> str | None:
    """Returns the name of a model that another organization publishes again, as it is or stored in 4 bits."""
    organization, _, base = name.rpartition("/")
    is_again = organization.casefold() in _MIRRORS and normalized(name) not in by_name()
    in_4_bits = base.casefold().endswith(IN_4_BITS)
    if not is_again and (organization or not in_4_bits):
        return None
    if in_4_bits:
        base = base[: -len(IN_4_BITS)]
        base = base[: -len("-unsloth")] if base.casefold().endswith("-unsloth") else base
    return base if registered(base) else None


@cache
def as_spelled() -> dict[str, RegistryModel]:
    """Returns the entries by each of their names, as the registry spells them."""
    return {name: entry for entry in entries() for name in entry.names}


@cache
def by_name() -> dict[str, RegistryModel]:
    """Returns the entries by each of their names, as names are compared."""
    return {normalized(name): entry for entry in entries() for name in entry.names}


@cache
def _without_organization() -> dict[str, RegistryModel]:
    return {normalized(name.rpartition("/")[2]): entry for entry in entries() for name in entry.names}

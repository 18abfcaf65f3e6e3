"""Looks GPUs and machines up by name, in a catalog of them."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pydantic import ValidationError

from hardware.errors import CatalogError, PlannerError, UnknownNameError, shown
from hardware.gpu import GPU
from hardware.machine import Machine
from hardware.names.named import Named, name_key
from hardware.names.unlisted import memory_of, unlisted

Entries = dict[str, dict[str, Any]]
"""Fields of entries by the entry's name."""

_SIZE: Final = r"(?i)[-_\s]*[0-9]+[-_\s]*GB"  # compiled by its first use
"""The size of the memory in a GPU's name, which follows the name of the card."""


class Catalog:
    """Holds GPUs and machines, which are found by name or alias; it does not change once it is made.

    Case, '-', '_', spaces and a leading "NVIDIA" or "AMD" do not count, so names as torch reports them are found, too.
    """

    __slots__ = ("_explain", "_fields", "_gpus", "_machines")

    def __init__(self, gpus: Iterable[GPU] = (), machines: Iterable[Machine] = ()) -> None:
        """Makes a catalog of GPUs and machines.

        Raises:
            CatalogError: Two of them have a name in common.
        """
        self._fields: Entries = {}
        self._explain: Callable[[], object] = object
        self._gpus: Named[GPU] = Named(self._parsed_gpu)
        self._machines: Named[Machine] = Named(self._parsed_machine)
        self._add(gpus, machines)

    def _add(self, gpus: Iterable[GPU], machines: Iterable[Machine]) -> None:
        problems = self._gpus.add(gpus) + self._machines.add(machines)
        problems += [
            f"{owner}: one of its names already belongs to {self._gpus.owners[key]}"
            for key, owner in self._machines.owners.items()
            if key in self._gpus.owners
        ]
        if problems:
            raise CatalogError(problems)

    @classmethod
    def promised(cls, gpus: Entries, machines: Entries, explain: Callable[[], object]) -> "Catalog":
        """Returns a catalog whose entries are validated only when asked for.

        Args:
            gpus: Fields of each GPU.
            machines: Fields of each machine.
            explain: Raises an error about all that is wrong with them; called where an entry is.
        """
        catalog = cls()
        catalog._explain = explain
        catalog._fields = gpus | machines
        for named, entries in ((catalog._gpus, gpus), (catalog._machines, machines)):
            for name, fields in entries.items():
                named.promise(name, fields.get("aliases", ()))
        return catalog

    def find(self, name: str) -> GPU | None:
        """Returns the GPU with a name or alias, or None.

        Raises:
            PlannerError: The name is not a string.
            CatalogError: The entry of the built-in file is broken.
        """
        if not isinstance(name, str):
            several = "; planner.fit_machines and sweep take several" if isinstance(name, list | tuple) else ""
            way_out = f"gpu='A100-40GB', or a GPU of a catalog{several}"
            raise PlannerError(f"the GPU is {shown(name)}, not a name", way_out)
        return self._gpus.find(name)

    def lookup(self, name: str) -> GPU | None:
        """Returns the GPU with a name or alias, or a stand-in of the size that the name says, or None.

        A size alone, such as `24GiB`, is that of a stand-in. The size of its memory may also stand behind the name of a
        card: `4090 24GB`.

        Raises:
            PlannerError: The name is not a string, or the size is of no card.
        """
        gpu = self.find(name)
        if gpu is None and (size := memory_of(name)) is not None:
            return unlisted(name, size, self.gpus)
        if gpu is None:
            from hardware.names.sized import of_size  # few names need it

            gpu = of_size(name, self)
        return gpu

    def get(self, name: str) -> GPU:
        """Returns the GPU that `lookup` finds.

        Raises:
            UnknownNameError: There is none; the hint gives the nearest names.
            PlannerError: The name is not a string, is that of hardware that is not planned, or the size is of no card.
        """
        gpu = self.lookup(name)
        if gpu is None:
            from hardware.names.unplanned import why_unplanned  # only errors need it

            if (known := why_unplanned(name, name_key(name))) is not None:
                raise PlannerError(f"unknown GPU {shown(name)}: {known[0]}", known[1])
            error = UnknownNameError("GPU", name, (*self.names(), *self._machines.names()))
            if not any(name_key(name) in name_key(near) for near in error.suggestions):
                error.hint = f"{error.hint}; --vram 24GiB plans a card of that memory that is not listed"
            raise error
        return gpu

    def find_machine(self, name: str) -> Machine | None:
        """Returns the machine with a name or alias, or None."""
        return self._machines.find(name)

    def machine(self, name: str) -> Machine:
        """Returns the machine with a name or alias.

        Raises:
            UnknownNameError: There is none; the hint gives the nearest names.
        """
        machine = self.find_machine(name)
        if machine is None:
            raise UnknownNameError("machine", name, self._machines.names())
        return machine

    def variants(self, name: str) -> tuple[str, ...]:
        """Returns the GPUs that a name without a size may mean: the one that it finds, then the card's other variants.

        Args:
            name: A name or alias. It may leave the size open that the GPU has in its own name: `H100` finds one of the
                GPUs whose names begin with `H100` and a size.

        Returns:
            Their canonical names; none where the name says the size, or where the GPU's own name has none.
        """
        found = self._gpus.owners.get(name_key(name))
        size = re.search(_SIZE, found or "")
        if found is None or size is None or re.search(_SIZE, name):
            return ()
        card = found[: size.start()]
        named = ((other, re.search(_SIZE, other)) for other in self.names() if other != found)
        return (found, *(other for other, size in named if size and other[: size.start()] == card))

    def _parsed_gpu(self, canonical: str) -> GPU:
        try:
            return GPU.model_validate({**self._fields[canonical], "name": canonical})
        except (ValidationError, TypeError):
            self._explain()  # raises, with line and column of every problem
            raise

    def _parsed_machine(self, canonical: str) -> Machine:
        try:
            return Machine.model_validate(self._machine_fields(canonical))
        except (ValidationError, TypeError, KeyError):
            self._explain()
            raise

    def _machine_fields(self, canonical: str) -> dict[str, Any]:
        from hardware.entries import derived  # of machines and files alone

        fields = {**self._fields[canonical], "name": canonical}
        return derived(fields, self._machine_fields(fields["base"]) if "base" in fields else None)

    @property
    def gpus(self) -> tuple[GPU, ...]:
        """Returns all GPUs, in the order of the file."""
        return self._gpus.all()

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Returns all machines, in the order of the file."""
        return self._machines.all()

    def names(self) -> tuple[str, ...]:
        """Returns the canonical names of the GPUs, in the order of the file."""
        return self._gpus.names()

    def machine_names(self) -> tuple[str, ...]:
        """Returns the canonical names of the machines, in the order of the file."""
        return self._machines.names()

    def name_keys(self) -> set[str]:
        """Returns the keys (see `name_key`) of all names and aliases, of GPUs and machines."""
        return {*self._gpus.owners, *self._machines.owners}

    def merge(self, other: "Catalog") -> "Catalog":
        """Returns a catalog with the entries of `other` added; one of the same name is replaced, in its place.

        Raises:
            CatalogError: An entry of `other` has a name of an entry that it does not replace.
        """
        merged = Catalog()
        merged._explain, merged._fields = self._explain, self._fields
        merged._gpus = self._gpus.without(other.names())
        merged._machines = self._machines.without(other.machine_names())
        merged._add(other.gpus, other.machines)
        return merged

    def __iter__(self) -> Iterator[GPU]:
        return iter(self.gpus)

    def __len__(self) -> int:
        return len(self._gpus)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name_key(name) in self._gpus.owners

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Catalog):
            return NotImplemented
        return self.gpus == other.gpus and self.machines == other.machines

    def __hash__(self) -> int:
        return hash(self.names())

    def __repr__(self) -> str:
        return f"Catalog of {len(self)} GPUs"

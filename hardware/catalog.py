"""Loads the catalog, which is the built-in file and a user's additions, and looks GPUs and machines up by name."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from hardware.builtin import Entries, builtin_catalog_path, builtin_entries
from hardware.errors import CatalogError, PlannerError, UnknownNameError, shown
from hardware.fields import GIB
from hardware.gpu import GPU
from hardware.machine import Machine
from hardware.names.named import Named, name_key
from hardware.names.unlisted import memory_of, unlisted
from hardware.sizes import tidied

CATALOG_VARIABLE: Final = "PLANNER_CATALOG"
"""Environment variable that names a user's catalog file."""

LEAST, MOST = GIB, 4096 * GIB
"""Least and most bytes of a card that is not listed."""

_SIZE: Final = r"(?i)[-_\s]*[0-9]+[-_\s]*GB"  # compiled by its first use
"""The size of the memory in a GPU's name, which follows the name of the card."""


class Catalog:
    """Holds GPUs and machines, which are found by name or alias; it does not change once it is made.

    Case, '-', '_', spaces and a leading "NVIDIA" or "AMD" do not count, so names as torch reports them are found, too.
    """

    __slots__ = ("_fields", "_file", "_gpus", "_machines")

    def __init__(self, gpus: Iterable[GPU] = (), machines: Iterable[Machine] = ()) -> None:
        """Makes a catalog of GPUs and machines.

        Raises:
            CatalogError: Two of them have a name in common.
        """
        self._fields: Entries = {}
        self._file = Path()
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
    def _builtin(cls, file: Path) -> "Catalog":
        """Returns the catalog of the built-in file, whose entries are validated only when asked for."""
        catalog = cls()
        catalog._file = file
        gpus, machines = builtin_entries(file)
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
            if not LEAST <= size <= MOST:
                raise PlannerError(f"a card with {name.strip()} of memory is not known", "24GiB is a usual one")
            return unlisted(tidied(name), size, self.gpus)
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
            read_catalog(self._file)  # raises, with line and column of every problem
            raise

    def _parsed_machine(self, canonical: str) -> Machine:
        try:
            return Machine.model_validate(self._machine_fields(canonical))
        except (ValidationError, TypeError, KeyError):
            read_catalog(self._file)
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
        merged._file, merged._fields = self._file, self._fields
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


def read_catalog(path: str | Path, base: Catalog | None = None) -> Catalog:
    """Returns the GPUs of one file, fully validated.

    Args:
        path: The YAML file.
        base: Catalog from which an entry takes the fields that it leaves out, if it has a GPU with that name or alias.
            `A100: {memory_bytes: ...}` changes this one value. A field is replaced as a whole, including `peak_flops`
            and the links.

    Raises:
        CatalogError: The file has problems; each is given as `file:line:column: path: message`.
    """
    from hardware.entries import validated  # what reads YAML is imported for files of users alone
    from hardware.files.yaml_text import read_document

    return Catalog(*validated(read_document(path), base if base is not None else Catalog()))


def load_catalog(path: str | Path | None = None) -> Catalog:
    """Returns the built-in catalog, with the GPUs of a user's file added.

    Args:
        path: The user's file; if None, the one that the environment variable PLANNER_CATALOG names, if any.

    Raises:
        CatalogError: A file has problems.
        PlannerError: `path` is not a path.
    """
    if not isinstance(path, str | Path | None):  # an int would be a file descriptor
        raise PlannerError(f"the catalog is {shown(path)}, not the path of a file", "catalog='my.yaml', or a Catalog")
    file = builtin_catalog_path()
    try:
        builtin = Catalog._builtin(file)
    except (OSError, ValueError, TypeError, AttributeError):
        builtin = read_catalog(file)  # raises an error that says what is wrong with the file
    user_path = path or os.environ.get(CATALOG_VARIABLE)
    return builtin.merge(read_catalog(user_path, base=builtin)) if user_path else builtin

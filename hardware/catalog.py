"""Loads the catalog of GPUs, which is the built-in file and a user's additions, and looks GPUs up by name."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from hardware.builtin import builtin_catalog_path, cut_entries, entry_aliases, parse_entry
from hardware.entries import claim_names, name_key, validated_gpus
from hardware.errors import CatalogError, PlannerError, UnknownNameError, shown
from hardware.gpu import GPU
from hardware.reading import read_document

CATALOG_VARIABLE: Final = "PLANNER_CATALOG"
"""Environment variable that names a user's catalog file."""

_SIZE: Final = re.compile(r"[-_\s]*[0-9]+[-_\s]*GB", re.IGNORECASE)
"""The size of the memory in a GPU's name, which follows the name of the card."""


class Catalog:
    """Holds GPUs, which are found by name or alias; it does not change once it is made.

    Case, '-', '_', spaces and a leading "NVIDIA" or "AMD" do not count, so names as torch reports them are found, too.
    """

    __slots__ = ("_file", "_gpus", "_owners", "_texts")

    def __init__(self, gpus: Iterable[GPU] = ()) -> None:
        """Makes a catalog of GPUs.

        Raises:
            CatalogError: Two GPUs have a name in common.
        """
        self._gpus: dict[str, GPU | None] = {}
        self._owners: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._file = Path()
        self._add(gpus)

    def _add(self, gpus: Iterable[GPU]) -> None:
        problems = []
        added: set[str] = set()
        for gpu in gpus:
            owners = [gpu.name] if gpu.name in added else []
            owners += [owner for _, owner in claim_names(self._owners, gpu.name, gpu.aliases)]
            problems += [f"{gpu.name}: one of its names already belongs to {owner}" for owner in owners]
            added.add(gpu.name)
            self._gpus[gpu.name] = gpu
        if problems:
            raise CatalogError(problems)

    @classmethod
    def _builtin(cls, file: Path) -> "Catalog":
        """Returns the catalog of the built-in file, whose entries are parsed and validated only when asked for."""
        catalog = cls()
        catalog._file = file
        catalog._texts = cut_entries(file.read_text(encoding="utf-8"))
        for name, text in catalog._texts.items():
            catalog._gpus[name] = None
            for alias in (name, *entry_aliases(name, text)):
                catalog._owners[name_key(alias)] = name
        return catalog

    def find(self, name: str) -> GPU | None:
        """Returns the GPU with a name or alias, or None.

        Raises:
            PlannerError: The name is not a string.
            CatalogError: The entry of the built-in file is broken.
        """
        if not isinstance(name, str):
            raise PlannerError(f"the GPU is {shown(name)}, not a name", "gpu='A100-40GB', or a GPU of a catalog")
        canonical = self._owners.get(name_key(name))
        return None if canonical is None else self._gpus[canonical] or self._validate(canonical)

    def get(self, name: str) -> GPU:
        """Returns the GPU with a name or alias.

        Raises:
            UnknownNameError: There is none; the hint gives the nearest names.
            PlannerError: The name is not a string.
        """
        gpu = self.find(name)
        if gpu is None:
            raise UnknownNameError("GPU", name, self._gpus)
        return gpu

    def variants(self, name: str) -> tuple[str, ...]:
        """Returns the GPUs that a name without a size may mean: the one that it finds, then the card's other variants.

        Args:
            name: A name or alias. It may leave the size open that the GPU has in its own name: `H100` finds one of the
                GPUs whose names begin with `H100` and a size.

        Returns:
            Their canonical names; none where the name says the size, or where the GPU's own name has none.
        """
        found = self._owners.get(name_key(name))
        size = _SIZE.search(found or "")
        if found is None or size is None or _SIZE.search(name):
            return ()
        card = found[: size.start()]
        named = ((other, _SIZE.search(other)) for other in self._gpus if other != found)
        return (found, *(other for other, size in named if size and other[: size.start()] == card))

    def _validate(self, canonical: str) -> GPU:
        try:
            gpu = GPU.model_validate(parse_entry(canonical, self._texts[canonical]))
        except (yaml.YAMLError, ValidationError, TypeError, KeyError):
            read_catalog(self._file)  # raises, with line and column of every problem
            raise
        self._gpus[canonical] = gpu
        return gpu

    @property
    def gpus(self) -> tuple[GPU, ...]:
        """Returns all GPUs, in the order of the file."""
        return tuple(gpu or self._validate(name) for name, gpu in self._gpus.items())

    def names(self) -> tuple[str, ...]:
        """Returns the canonical names, in the order of the file."""
        return tuple(self._gpus)

    def name_owners(self) -> dict[str, str]:
        """Returns the canonical name for the key (see `name_key`) of each name and alias."""
        return dict(self._owners)

    def merge(self, other: "Catalog") -> "Catalog":
        """Returns a catalog with the GPUs of `other` added; one of the same name is replaced as a whole, in its place.

        Raises:
            CatalogError: A GPU of `other` has a name of a GPU that it does not replace.
        """
        merged = Catalog()
        merged._file, merged._texts, merged._gpus = self._file, self._texts, dict(self._gpus)
        merged._owners = {key: owner for key, owner in self._owners.items() if owner not in other._gpus}
        merged._add(other.gpus)
        return merged

    def __iter__(self) -> Iterator[GPU]:
        return iter(self.gpus)

    def __len__(self) -> int:
        return len(self._gpus)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name_key(name) in self._owners

    def __eq__(self, other: object) -> bool:
        return self.gpus == other.gpus if isinstance(other, Catalog) else NotImplemented

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
    return Catalog(validated_gpus(read_document(path), base if base is not None else Catalog()))


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
    except (OSError, UnicodeDecodeError):
        builtin = read_catalog(file)  # raises an error that says what is wrong with the file
    user_path = path or os.environ.get(CATALOG_VARIABLE)
    return builtin.merge(read_catalog(user_path, base=builtin)) if user_path else builtin

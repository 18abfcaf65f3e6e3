"""The catalog of GPUs: the built-in file, a user's additions to it, and look-up by name."""

import os
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


class Catalog:
    """An immutable collection of GPUs, found by name or alias.

    Case, '-', '_', spaces and a leading "NVIDIA" or "AMD" do not count, so names as torch reports them are found, too.
    """

    __slots__ = ("_file", "_gpus", "_owners", "_texts")

    def __init__(self, gpus: Iterable[GPU] = ()) -> None:
        """Raises CatalogError if two GPUs claim one name."""
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
        """The built-in file, of which an entry is parsed and validated only when asked for."""
        catalog = cls()
        catalog._file = file
        catalog._texts = cut_entries(file.read_text(encoding="utf-8"))
        for name, text in catalog._texts.items():
            catalog._gpus[name] = None
            for alias in (name, *entry_aliases(name, text)):
                catalog._owners[name_key(alias)] = name
        return catalog

    def find(self, name: str) -> GPU | None:
        """The GPU of that name or alias, None if there is none."""
        if not isinstance(name, str):
            raise PlannerError(f"the GPU is {shown(name)}, not a name", "gpu='A100-40GB', or a GPU of a catalog")
        canonical = self._owners.get(name_key(name))
        return None if canonical is None else self._gpus[canonical] or self._validate(canonical)

    def get(self, name: str) -> GPU:
        """The GPU of that name or alias; raises UnknownNameError with the nearest names."""
        gpu = self.find(name)
        if gpu is None:
            raise UnknownNameError("GPU", name, self._gpus)
        return gpu

    def _validate(self, canonical: str) -> GPU:
        try:
            gpu = GPU.model_validate(parse_entry(canonical, self._texts[canonical]))
        except (yaml.YAMLError, ValidationError, TypeError, KeyError):
            read_catalog(self._file)  # raises, with line and column of everything that is wrong
            raise
        self._gpus[canonical] = gpu
        return gpu

    @property
    def gpus(self) -> tuple[GPU, ...]:
        return tuple(gpu or self._validate(name) for name, gpu in self._gpus.items())

    def names(self) -> tuple[str, ...]:
        """Canonical names, in the order of the file."""
        return tuple(self._gpus)

    def name_owners(self) -> dict[str, str]:
        """Canonical name by the key (see `name_key`) of each name and alias."""
        return dict(self._owners)

    def merge(self, other: "Catalog") -> "Catalog":
        """This catalog with the GPUs of `other` added; a GPU of the same name is replaced as a whole, in its place.

        Raises CatalogError if a GPU of `other` claims a name of a GPU that it does not replace.
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
    """The GPUs of one file, fully validated; an entry may leave out what the GPU of that name or alias in `base` has.

    Overrides are by field: `A100: {memory_bytes: ...}` changes this one value. A field is replaced as a whole, also
    `peak_flops` and the links. Raises CatalogError with every problem of the file as `file:line:column: path: message`.
    """
    return Catalog(validated_gpus(read_document(path), base if base is not None else Catalog()))


def load_catalog(path: str | Path | None = None) -> Catalog:
    """The built-in catalog with a user's file on top: `path`, or what the variable PLANNER_CATALOG names."""
    if not isinstance(path, str | Path | None):  # an int would be a file descriptor
        raise PlannerError(f"the catalog is {shown(path)}, not the path of a file", "catalog='my.yaml', or a Catalog")
    file = builtin_catalog_path()
    try:
        builtin = Catalog._builtin(file)
    except (OSError, UnicodeDecodeError):
        builtin = read_catalog(file)  # raises, and says what is wrong with the file
    user_path = path or os.environ.get(CATALOG_VARIABLE)
    return builtin.merge(read_catalog(user_path, base=builtin)) if user_path else builtin

"""Loads catalogs: the built-in file, whose entries are validated when asked for, and files of users."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Final

from hardware.catalog import Catalog, Entries
from hardware.errors import PlannerError, shown
from hardware.files.shipped import read_shipped

CATALOG_VARIABLE: Final = "PLANNER_CATALOG"
"""Environment variable that names a user's catalog file."""
COMPILED: Final = Path(__file__).with_name("catalog.json")
"""What `docs/generate.py` makes of the built-in catalog."""


def builtin_catalog_path() -> Path:
    """Returns `hardware/catalog.yaml` of an installed wheel, or `catalog.yaml` at the top of a checkout."""
    packaged = Path(__file__).with_name("catalog.yaml")
    return packaged if packaged.exists() else Path(__file__).parent.parent / "catalog.yaml"


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
        builtin = Catalog.promised(*_builtin_entries(file), partial(read_catalog, file))
    except (OSError, ValueError, TypeError, AttributeError):
        builtin = read_catalog(file)  # raises an error that says what is wrong with the file
    user_path = path or os.environ.get(CATALOG_VARIABLE)
    return builtin.merge(read_catalog(user_path, base=builtin)) if user_path else builtin


def _builtin_entries(file: Path) -> tuple[Entries, Entries]:
    """Returns the fields of each GPU and of each machine of the built-in catalog, without validation.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not valid YAML.
    """
    data = read_shipped([file], COMPILED)
    return data.get("gpus", {}), data.get("machines", {})

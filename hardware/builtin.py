"""Finds the built-in catalog, and reads the fields of its entries without validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hardware.files.shipped import read_shipped

COMPILED: Final = Path(__file__).with_name("catalog.json")
"""What `docs/generate.py` makes of the built-in catalog."""

Entries = dict[str, dict[str, Any]]
"""Fields of entries by the entry's name."""


def builtin_catalog_path() -> Path:
    """Returns `hardware/catalog.yaml` of an installed wheel, or `catalog.yaml` at the top of a checkout."""
    packaged = Path(__file__).with_name("catalog.yaml")
    return packaged if packaged.exists() else Path(__file__).parent.parent / "catalog.yaml"


def builtin_entries(file: Path) -> tuple[Entries, Entries]:
    """Returns the fields of each GPU and of each machine of the built-in catalog, without validation.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not valid YAML.
    """
    data = read_shipped([file], COMPILED)
    return data.get("gpus", {}), data.get("machines", {})

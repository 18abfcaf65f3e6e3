"""Reads the data that ships with the packages: YAML, which people write, by way of JSON that is made of it.

PyYAML takes 12 ms to import and 50 ms for the catalog and the registry; their JSON takes 2 ms. It holds a checksum of
the YAML. Where that has changed since, the YAML itself is read, until `python docs/generate.py` makes the JSON anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json


def read_shipped(sources: Sequence[Path], compiled: Path) -> dict[str, Any]:
    """Returns the mappings of YAML files, joined; days may be texts.

    Args:
        sources: The YAML files.
        compiled: The JSON that is made of them; it need not exist.

    Raises:
        OSError: A YAML file cannot be read.
        ValueError: It is not valid YAML, or no mapping.
    """
    contents = [path.read_bytes() for path in sources]
    with suppress(OSError, ValueError, LookupError, TypeError):
        found = from_json(compiled.read_bytes())
        if found["checksum"] == checksum(contents):
            data: dict[str, Any] = found["data"]
            return data
    return joined(contents)


def checksum(contents: Iterable[bytes]) -> int:
    """Returns a checksum of files, by which one sees that they have changed."""
    found = 0
    for content in contents:
        found = zlib.crc32(content, found)
    return found


def joined(contents: Iterable[bytes]) -> dict[str, Any]:
    """Returns the mappings of YAML files as one.

    Raises:
        ValueError: One is not valid YAML, or no mapping.
    """
    import yaml  # only where the JSON is not of these files

    from hardware.files.yaml_text import SafeLoader

    data: dict[str, Any] = {}
    try:
        for content in contents:
            data |= yaml.load(content, Loader=SafeLoader)
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(f"not valid YAML of a mapping: {error}") from error
    return data

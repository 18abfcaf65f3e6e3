"""Cuts the built-in catalog into entries without parsing them.

PyYAML's C loader takes 20 ms for the whole file and 0.4 ms for one entry, and a command asks for one GPU. The cut
relies on the file's layout, in which only entries are indented by exactly two spaces; a test compares it with a full
read.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from hardware.reading import SafeLoader

_ENTRY: Final = re.compile(r"^ {2}(?=[^\s#])(?P<name>[^:\n]+):", re.MULTILINE)
_ALIASES: Final = re.compile(r"^ {4}aliases: \[(?P<names>.*)\],?$", re.MULTILINE)


def builtin_catalog_path() -> Path:
    """Returns `hardware/catalog.yaml` of an installed wheel, or `catalog.yaml` at the top of a checkout."""
    packaged = Path(__file__).with_name("catalog.yaml")
    return packaged if packaged.exists() else Path(__file__).parent.parent / "catalog.yaml"


def cut_entries(text: str) -> dict[str, str]:
    """Returns the YAML text of each entry by name; the text is a mapping with this one key."""
    matches = list(_ENTRY.finditer(text))
    ends = [*(match.start() for match in matches[1:]), len(text)]
    return {match["name"]: text[match.start() : end] for match, end in zip(matches, ends, strict=False)}


def cut_sections(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the YAML text of each GPU and of each machine by name."""
    gpus, _, machines = text.partition("\nmachines:\n")
    return cut_entries(gpus), cut_entries(machines)


def parse_entry(name: str, text: str) -> dict[str, Any]:
    """Returns the fields of one entry, without validation."""
    fields = yaml.load(text, Loader=SafeLoader)[name]
    return {**fields, "name": name}


def entry_aliases(name: str, text: str) -> list[str]:
    """Returns the aliases of one entry; its text is parsed only if they are not in a list on one line."""
    match = _ALIASES.search(text)
    if match is None and "aliases:" not in text:
        return []
    if match is None:
        return list(parse_entry(name, text).get("aliases", ()))
    return [alias.strip().strip("\"'") for alias in match["names"].split(",") if alias.strip()]

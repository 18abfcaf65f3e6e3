"""Makes the JSON Schema of catalog files, which editors use to complete and check them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hardware.entries import SCHEMA_VERSION
from hardware.gpu import GPU
from hardware.machine import Machine


def catalog_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a catalog file.

    No field of an entry is required, since it may come from the entry that is overridden, or that `base` names.
    """
    definitions: dict[str, Any] = {}
    sections = {"gpus": _entry(GPU, definitions), "machines": _entry(Machine, definitions)}
    entries = {name: {"type": "object", "additionalProperties": entry} for name, entry in sections.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Catalog of GPUs and machines",
        "type": "object",
        "properties": {"schema_version": {"const": SCHEMA_VERSION}, **entries},
        "additionalProperties": False,
        "$defs": definitions,
    }


def _entry(kind: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of an entry, whose name is its key; the definitions that it refers to are added."""
    schema = kind.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    fields = {name: field for name, field in schema["properties"].items() if name != "name"}
    fields["base"] = {"type": "string", "description": "Entry from which the fields come that this one leaves out."}
    return {
        "type": "object",
        "description": schema.get("description", ""),
        "properties": fields,
        "additionalProperties": False,
    }

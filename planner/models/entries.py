"""Cuts the registry's files into entries, one for each model that is known by name.

PyYAML's C loader takes 36 ms for all files and 0.4 ms for one entry, and a command asks for one model: its entry is cut
out and parsed alone, and no regular expression is compiled for it. This relies on the layout of the files; a test
compares it with a full read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hardware.errors import normalized
from hardware.reading import SafeLoader
from planner.models.sources.text_part import note_on_text_part


class RegistryModel(NamedTuple):
    """Describes a model of the registry that is not built yet; `find_model(name)` or `recognize(name)` builds it."""

    name: str
    hf: str
    """Its id on the Hugging Face Hub."""
    aliases: tuple[str, ...]
    model_type: str
    config_yaml: str
    """The fields of its config.json that decide sizes, as YAML."""
    text_of: tuple[str, ...] = ()
    """Where it is the language model of a multimodal one: the `model_type` of that, and the keys of its config.json
    that describe the parts that are left out."""
    note: str | None = None
    """What a user should know of it, or None."""
    num_parameters: int | None = None
    """Its exact number of parameters where no family describes it and replays plan it; None for the others."""

    @property
    def names(self) -> tuple[str, ...]:
        """Returns all names under which it is found."""
        return (self.name, self.hf, *self.aliases)

    def repository(self, name: str) -> str:
        """Returns the id on the Hugging Face Hub that a name means: that of the entry, or of another of its shape.

        Args:
            name: One that finds the entry; an id is that of the repository, another name is how its id begins.
        """
        key = normalized(name.rpartition("/")[2])
        ids = [self.hf, *(other for other in self.aliases if "/" in other)]
        if normalized(name) in (normalized(self.name), normalized(self.hf)):
            return self.hf
        own = next((known for known in ids if normalized(known) == normalized(name)), None)
        bare = {known: normalized(known.rpartition("/")[2]) for known in ids}
        exact = next((known for known in ids if bare[known] == key), None)
        return own or exact or next((known for known in ids if bare[known].startswith(key)), self.hf)

    @property
    def fields(self) -> dict[str, Any]:
        """Returns the fields of its config.json that decide sizes."""
        fields: dict[str, Any] = yaml.load(self.config_yaml, Loader=SafeLoader)
        return fields

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns notes for users: what is left out of a multimodal model, and what the entry says itself."""
        notes = [] if self.note is None else [self.note]
        if self.text_of:
            whole, *left_out = self.text_of
            notes.append(note_on_text_part(whole, self.model_type, left_out))
        return tuple(notes)


def cut_entries() -> Iterator[RegistryModel]:
    """Yields the entries of the registry's files, cut out of their text."""
    for path in sorted(Path(__file__).with_name("registry").iterdir()):
        if path.suffix != ".yaml":
            continue
        for fields in _cut(path.read_text(encoding="utf-8")):
            number, config = fields.get("num_parameters"), fields["config"]
            yield RegistryModel(
                fields["name"],
                fields["hf"],
                _listed(fields.get("aliases")),
                config.partition("{model_type: ")[2].partition(",")[0],
                config,
                _listed(fields.get("text_of")),
                fields.get("note"),
                None if number is None else int(number),
            )


def _cut(text: str) -> Iterator[dict[str, str]]:
    """Yields the fields of each entry as text: names are not indented, fields are by two spaces, `config` is last."""
    fields, key = dict[str, str](), ""
    for line in text.splitlines():
        if line[:1] not in {"", " ", "#"}:
            fields = {"name": line.rstrip(":")}
        elif line.startswith("   "):
            fields[key] += f"\n{line}"
        elif line.startswith("  "):
            key, _, value = line[2:].partition(": ")
            fields[key] = value
        if line.endswith("}"):
            yield fields


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in (text or "").strip("[]").split(",") if item.strip())

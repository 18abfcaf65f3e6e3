"""Reads the entries of the registry's files, one for each model that is known by name."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, NamedTuple

from hardware.errors import normalized
from hardware.files.shipped import read_shipped

COMPILED: Final = Path(__file__).with_name("registry.json")
"""What `docs/generate.py` makes of the registry's files."""


class RegistryModel(NamedTuple):
    """Describes a model of the registry that is not built yet; `find_model(name)` or `recognize(name)` builds it."""

    name: str
    hf: str
    """Its id on the Hugging Face Hub."""
    aliases: tuple[str, ...]
    model_type: str
    config: dict[str, Any]
    """The fields of its config.json that decide sizes, which `fields` returns."""
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
        """Returns the fields of its config.json that decide sizes, which the caller may change."""
        return deepcopy(self.config)

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns notes for users: what is left out of a multimodal model, and what the entry says itself."""
        notes = [] if self.note is None else [self.note]
        if self.text_of:
            from planner.models.sources.text_part import note_on_text_part  # few need it

            whole, *left_out = self.text_of
            notes.append(note_on_text_part(whole, self.model_type, left_out))
        return tuple(notes)


def registry_files() -> list[Path]:
    """Returns the files of the registry."""
    return sorted(Path(__file__).with_name("registry").glob("*.yaml"))


def registry_entries() -> Iterator[RegistryModel]:
    """Yields the entries of the registry's files."""
    for name, fields in read_shipped(registry_files(), COMPILED).items():
        config = fields["config"]
        yield RegistryModel(
            name,
            fields["hf"],
            tuple(fields.get("aliases", ())),
            config["model_type"],
            config,
            tuple(fields.get("text_of", ())),
            fields.get("note"),
            fields.get("num_parameters"),
        )

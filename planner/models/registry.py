"""Finds the architecture that a user names: in the registry, in a config.json, on the Hub, or by a bare size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from hardware.errors import PlannerError, UnknownNameError, normalized, shown
from hardware.reading import SafeLoader
from planner.models.architecture import Architecture
from planner.models.families import family, supported_model_types
from planner.models.foreign import SPELLED_AS_CODE, Foreign
from planner.models.inventory import Inventory
from planner.models.other_kinds import other_kind
from planner.models.support import unsupported
from strategies import Choice

if TYPE_CHECKING:  # imported only for a model that is not in the registry
    from planner.models.sources import Source

# PyYAML's C loader takes 36 ms for all files and 0.4 ms for one entry, and a command asks for one model: its entry is
# cut out and parsed alone. This relies on the layout of the files; a test compares it with a full read.
_ENTRY: Final = re.compile(
    r"^(?P<name>[^\s#:]+):\n"
    r"  hf: (?P<hf>\S+)\n"
    r"(?:  aliases: \[(?P<aliases>[^\]]*)\]\n)?"
    r"  config: (?P<config>\{model_type: (?P<model_type>[\w-]+),[^}]*\})$",
    re.MULTILINE,
)
_SIZE: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>[MBT])", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"M": 10**6, "B": 10**9, "T": 10**12}


class RegistryModel(NamedTuple):
    """Describes a model of the registry that is not built yet; `find_model(name)` builds it."""

    name: str
    hf: str
    """Its id on the Hugging Face Hub."""
    aliases: tuple[str, ...]
    model_type: str
    config_yaml: str
    """The fields of its config.json that decide sizes, as YAML."""

    @property
    def names(self) -> tuple[str, ...]:
        """Returns all names under which it is found."""
        return (self.name, self.hf, *self.aliases)


@dataclass(frozen=True)
class Model:
    """Describes a model to plan for."""

    name: str
    """The name that finds it again."""
    architecture: Architecture
    hf: str | None = None
    """Its id on the Hugging Face Hub, or None."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    approximate: bool = False
    """Whether the architecture is a stand-in, because only a size was asked for."""
    notes: tuple[str, ...] = ()
    """Notes for users on how the model was read."""

    @cached_property
    def inventory(self) -> Inventory:
        """Returns all its parameters."""
        return Inventory(self.architecture)

    @property
    def source(self) -> dict[str, Any]:
        """Returns the fields of its config.json."""
        return self.architecture.config()

    @property
    def target_names(self) -> tuple[str, ...]:
        """Returns the names of linear layers that LoRA can adapt."""
        return self.inventory.target_names

    @property
    def max_positions(self) -> int | None:
        """Returns the longest sequence, in tokens, that it was trained with, or None where there is no limit."""
        return self.architecture.num_positions

    @property
    def supports_sdpa(self) -> bool:
        """Returns whether transformers runs it with SDPA."""
        return self.architecture.supports_sdpa

    @property
    def groups_heads(self) -> bool | None:
        """Returns whether several query heads share keys and values; None if that is not known."""
        return self.inventory.heads.grouped

    def unsupported(self, choice: Choice) -> str | None:
        """Returns why no library has that kernel for the model, or None if one has."""
        return unsupported(self.name, self.inventory, choice)

    @property
    def adapter_notes(self) -> tuple[str, ...]:
        """Returns notes for users on training it with LoRA."""
        return self.architecture.adapter_notes

    @property
    def tokens_per_sample(self) -> int | None:
        """Returns the tokens of a sample where all samples have one length, or None."""
        return self.architecture.tokens_per_sample

    @property
    def usual_length(self) -> int | None:
        """Returns the length of sequences, in tokens, beyond which positions are missing or unusual, or None."""
        return None if self.architecture.positions in ("rotary", "alibi") else self.max_positions

    @property
    def has_learned_positions(self) -> bool:
        """Returns whether there is no position beyond the last one."""
        return self.architecture.positions == "learned"

    @property
    def num_parameters(self) -> int:
        """Returns the exact number of parameters, with tied weights counted once."""
        return self.inventory.num_parameters


def find_model(text: str) -> Model:
    """Returns the model that a user means, if a family of the registry describes it.

    Args:
        text: A name of the registry, a path to a config.json, `hf:org/name`, or a size such as 7B; see `recognize`.

    Raises:
        PlannerError: There is no such model, it cannot be read, or no family describes it.
    """
    model = recognize(text)
    if isinstance(model, Foreign):
        raise PlannerError(f"{text} is of no family of the registry", "fit, estimate and verify plan it by replays")
    return model


def recognize(text: str, *, from_cache: bool = False) -> Model | Foreign:
    """Returns the model that a user means.

    The text is tried in this order: `package.module:function` or `hf:org/name`, which is read from the Hugging Face
    Hub; a path to a config.json, if it is spelled as a path; then a name of the registry, a size such as 7B, and a file
    or directory without `./` in front.

    Args:
        text: What the user calls the model.
        from_cache: Whether the Hub's local cache alone is read and nothing is downloaded.

    Raises:
        PlannerError: There is no such model, or it cannot be read.
    """
    if not isinstance(text, str):
        raise PlannerError(f"the model is {shown(text)}, not a name", "model='llama-2-7b', or a Model")
    text = text.strip()
    try:
        text.encode()
    except UnicodeEncodeError:  # the path of a file whose name is not UTF-8, which no JSON could hold
        raise PlannerError(f"the model's name {shown(text)} is not UTF-8 text", "rename the file") from None
    if is_hub_id(text):
        return _from_hub(text[3:].strip(), from_cache=from_cache)
    if SPELLED_AS_CODE.fullmatch(text):
        return Foreign(text, text)
    if _spelled_as_path(text):
        return _from_file(text)
    if entry := _index().get(normalized(text)):
        model = _from_registry(entry)
        if os.path.exists(os.path.join(text, "config.json")):
            note = f"{entry.name} of the built-in registry; the directory is ./{text}"
            model = replace(model, notes=(*model.notes, note))
        return model
    if size := _SIZE.fullmatch(text):
        return _of_size(text.replace(" ", "").upper(), float(size["number"]) * _UNITS[size["unit"].upper()])
    if os.path.isfile(text) or (text and os.path.isfile(os.path.join(text, "config.json"))):
        return _from_file(text)
    raise _unknown(text)


def is_hub_id(text: str) -> bool:
    """Returns whether a name is that of a model on the Hugging Face Hub: `hf:org/name`."""
    return text.strip()[:3].lower() == "hf:"


_added: Final[list[RegistryModel]] = []


@cache
def registry_models() -> tuple[RegistryModel, ...]:
    """Returns all models of the registry, none of them built."""
    return (*_cut_entries(), *_added)


def add_model(name: str, config: Mapping[str, Any], *, hf: str | None = None, aliases: Sequence[str] = ()) -> Model:
    """Adds a model of a plug-in to the registry, for as long as the process lives.

    Args:
        name: The name that finds it.
        config: The fields of its config.json.
        hf: Its id on the Hugging Face Hub; the name by default.
        aliases: Other names that find it.

    Raises:
        PlannerError: The registry has one of the names already, or has no such family.
    """
    entry = RegistryModel(name, hf or name, tuple(aliases), str(config.get("model_type")), yaml.safe_dump(dict(config)))
    if taken := [known for known in entry.names if normalized(known) in _index()]:
        raise PlannerError(f"the registry has a model {taken[0]!r} already", "give it another name")
    if entry.model_type not in supported_model_types():
        raise PlannerError(f"{name}: the registry has no family {entry.model_type!r}", "add_family adds one")
    _added.append(entry)
    registry_models.cache_clear()
    _index.cache_clear()
    return _from_registry(entry)


def _cut_entries() -> Iterator[RegistryModel]:
    """Yields the entries of the registry's files, cut out of their text."""
    for path in sorted(Path(__file__).with_name("registry").glob("*.yaml")):
        for entry in _ENTRY.finditer(path.read_text(encoding="utf-8")):
            aliases = tuple(alias.strip() for alias in (entry["aliases"] or "").split(",") if alias.strip())
            yield RegistryModel(entry["name"], entry["hf"], aliases, entry["model_type"], entry["config"])


@cache
def _index() -> dict[str, RegistryModel]:
    return {normalized(name): entry for entry in registry_models() for name in entry.names}


@cache
def _from_registry(entry: RegistryModel) -> Model:
    fields: dict[str, Any] = yaml.load(entry.config_yaml, Loader=SafeLoader)
    architecture = family(entry.model_type).model_validate(fields)
    return Model(entry.name, architecture, entry.hf, entry.aliases, notes=architecture.notes)


def _spelled_as_path(text: str) -> bool:
    return text in {".", ".."} or text.startswith(("./", "../", "/", "~")) or text.lower().endswith(".json")


def _from_file(text: str) -> Model | Foreign:
    from planner.models.sources import read_config

    return _described(text, read_config(text), None)


def _from_hub(repository: str, *, from_cache: bool) -> Model | Foreign:
    from planner.models.sources import download_config

    registered = _index().get(normalized(repository))
    source = download_config(repository, instead=registered.name if registered else None, from_cache=from_cache)
    return _described(f"hf:{repository}", source, repository)


def _of_size(name: str, num_parameters: float) -> Model:
    from planner.models.stand_in import stand_in

    architecture, note = stand_in(name, num_parameters)
    return Model(name, architecture, approximate=True, notes=(note,))


def _described(name: str, source: Source, hf: str | None) -> Model | Foreign:
    if isinstance(source.architecture, Architecture):
        return Model(name, source.architecture, hf, notes=(*source.notes, *source.architecture.notes))
    return Foreign(name, source.architecture, source.notes)


def _unknown(text: str) -> UnknownNameError:
    is_id = "/" in text
    known = [name for entry in registry_models() for name in entry.names if ("/" in name) == is_id]
    error = UnknownNameError("model", text, known)
    if other := other_kind(text, lambda name: normalized(name) in _index()):
        error.message, error.hint = f"{text} is {other.kind}, and planner plans language models", other.way_out
        error.args = (error.message,)
        return error
    others = [f"hf:{text} reads it from the Hugging Face Hub"] if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else []
    if not error.suggestions:
        others.append("a path to a config.json" + ("" if others else ", hf:org/name") + " or a size such as 7B will do")
    error.hint = "; ".join([str(error.hint), *others])
    return error

"""Finds the architecture that a user names: in the registry, in a config.json, on the Hub, or by a bare size."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from hardware.errors import PlannerError, shown
from planner.models.architecture import Architecture
from planner.models.entries import RegistryModel
from planner.models.families import family, supported_model_types
from planner.models.foreign import Foreign, spelled_as_code
from planner.models.model import Model
from planner.models.registered import IN_4_BITS, add, as_spelled, mirrored, registered
from planner.models.tasks import usual

if TYPE_CHECKING:  # imported only for a model that is not in the registry
    from planner.models.sources.config_json import Source

_SIZE: Final = r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>[MBTmbt])"
_UNITS: Final = {"M": 10**6, "B": 10**9, "T": 10**12}


def find_model(text: str) -> Model:
    """Returns the model that a user means, if a family of the registry describes it.

    Args:
        text: A name of the registry, a path to a config.json, `hf:org/name`, or a size such as 7B; see `recognize`.

    Raises:
        PlannerError: There is no such model, it cannot be read, or no family describes it.
    """
    model = recognize(text)
    if isinstance(model, Foreign):
        raise _of_no_family(text)
    return model


def sized_model(text: str) -> Model | Foreign:
    """Returns the model that a user means, if its number of parameters is known without a replay.

    Args:
        text: What the user calls the model, as for `recognize`.

    Raises:
        PlannerError: There is no such model, it cannot be read, or only a replay can tell how large it is.
    """
    model = recognize(text)
    if isinstance(model, Foreign) and model.num_parameters is None:
        raise _of_no_family(text)
    return model


def recognize(text: str, *, from_cache: bool = False) -> Model | Foreign:
    """Returns the model that a user means.

    The text is tried in this order: `package.module:function` or `hf:org/name`, which is read from the Hugging Face
    Hub, as is the address of a page there; a path to a config.json, if it is spelled as a path; then a name of the
    registry, also with its size as a tag (`llama3.1:8b`), a size such as 7B, and a file or directory without `./` in
    front.

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
    text = _respelled(text)
    if is_hub_id(text):
        return _from_hub(text[3:].strip(), from_cache=from_cache)
    if spelled_as_code(text):
        return Foreign(text, text)
    if _spelled_as_path(text):
        return _from_file(text)
    if original := mirrored(text):
        return _again(text, recognize(original))
    if entry := registered(text):
        model = _of_repository(_from_registry(entry), entry.repository(text))
        if os.path.exists(os.path.join(text, "config.json")):
            note = f"{entry.name} of the built-in registry; the directory is ./{text}"
            model = replace(model, notes=(*model.notes, note))
        return model
    if size := re.fullmatch(_SIZE, text):
        return _of_size(text.replace(" ", "").upper(), float(size["number"]) * _UNITS[size["unit"].upper()])
    if os.path.isfile(text) or (text and os.path.isfile(os.path.join(text, "config.json"))):
        return _from_file(text)
    from planner.models.names.unknown import unknown_model  # only errors need it

    raise unknown_model(text)


def _respelled(text: str) -> str:
    """Returns the address of a page on the Hub, or a name with a tag, as a name to look up; any other text as it is."""
    if "/" not in text and ":" not in text:
        return text
    from planner.models.names.spelling import repository_of, untagged  # most names need neither

    if (page := repository_of(text)) is not None:
        return page if registered(mirrored(page) or page) else f"hf:{page}"
    return text if registered(untagged(text)) is None else untagged(text)


def _again(text: str, model: Model | Foreign) -> Model | Foreign:
    """Returns a model that another organization publishes again under the name `text`, with a note that says so."""
    note = f"{text} is taken for {model.hf}, whose name it has"
    if text.casefold().endswith(IN_4_BITS):
        note = f"{text} is {model.hf} stored in NF4, which qlora trains over; other methods take that itself"
        if isinstance(model, Model) and _stores_fused_experts(model):
            note += "; its experts are stored so as well, which Unsloth alone runs: plans have them in 16 bits"
    return replace(model, notes=(*model.notes, note))


def _stores_fused_experts(model: Model) -> bool:
    """Returns whether a model has experts that were never linear layers, which bitsandbytes quantizes."""
    apart = any(part.stacks for part in model.inventory.blocks.values())
    return model.inventory.num_expert_parameters > 0 and not apart


def is_hub_id(text: str) -> bool:
    """Returns whether a name is that of a model on the Hugging Face Hub: `hf:org/name`."""
    return text.strip()[:3].lower() == "hf:"


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
    entry = RegistryModel(name, hf or name, tuple(aliases), str(config.get("model_type")), deepcopy(dict(config)))
    if entry.model_type not in supported_model_types():
        raise PlannerError(f"{name}: the registry has no family {entry.model_type!r}", "add_family adds one")
    add(entry)
    return _described_entry(entry.name)


def _from_registry(entry: RegistryModel) -> Model | Foreign:
    if entry.num_parameters is None:
        return _described_entry(entry.name)
    return usual(Foreign(entry.name, entry.fields, entry.notes, entry.hf, entry.aliases, entry.num_parameters))


def _of_repository(model: Model | Foreign, repository: str) -> Model | Foreign:
    """Returns a model under the id of a repository that has its shape and other weights."""
    return model if repository == model.hf else replace(model, name=repository, hf=repository)


@cache
def _described_entry(name: str) -> Model:
    entry = as_spelled()[name]
    architecture = family(entry.model_type).model_validate(entry.fields)
    notes = (*entry.notes, *architecture.notes)
    found = usual(Model(entry.name, architecture, entry.hf, entry.aliases, notes=notes))
    assert isinstance(found, Model)
    return found


def _spelled_as_path(text: str) -> bool:
    return text in {".", ".."} or text.startswith(("./", "../", "/", "~")) or text.lower().endswith(".json")


def _from_file(text: str) -> Model | Foreign:
    from planner.models.sources.config_json import read_config

    return _described(text, read_config(text), None)


def _from_hub(repository: str, *, from_cache: bool) -> Model | Foreign:
    from planner.models.sources.hub import download_config

    known = registered(mirrored(repository) or repository)
    source = download_config(repository, instead=known.name if known else None, from_cache=from_cache)
    return _described(f"hf:{repository}", source, repository)


def _of_size(name: str, num_parameters: float) -> Model:
    from planner.models.stand_in import stand_in

    architecture, note = stand_in(name, num_parameters)
    return Model(name, architecture, approximate=True, notes=(note,))


def _described(name: str, source: Source, hf: str | None) -> Model | Foreign:
    if isinstance(source.architecture, Architecture):
        return usual(Model(name, source.architecture, hf, notes=(*source.notes, *source.architecture.notes)))
    return usual(Foreign(name, source.architecture, source.notes))


def _of_no_family(text: str) -> PlannerError:
    return PlannerError(f"{text} is of no family of the registry", "fit, estimate and verify plan it by replays")

"""Reads the architecture in a config.json on disk."""

from __future__ import annotations

import os
import re
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from hardware.errors import shown
from hardware.files.document import Location
from planner.models.architecture import Architecture
from planner.models.families import family, supported_model_types
from planner.models.sources.document import ConfigDocument, ModelConfigError, read_bytes
from planner.models.sources.text_part import described_parts, note_on_text_part

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_CLASS: Final = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII)


class Source(NamedTuple):
    """Holds what a config.json describes."""

    architecture: Architecture | dict[str, Any]
    """The architecture, if its family is in the registry; otherwise the fields of the file, which only transformers
    understands."""
    notes: tuple[str, ...] = ()
    """Notes for users on how the file was read."""


def read_config(path: str) -> Source:
    """Returns the architecture in a config.json.

    Args:
        path: The file, or the directory that holds it, as `save_pretrained` leaves it.

    Raises:
        ModelConfigError: The file cannot be read or used.
    """
    file = os.path.expanduser(path)
    if os.path.isdir(file):
        if not os.path.exists(os.path.join(file, "config.json")):
            raise ModelConfigError([f"{path}: a directory without config.json"])
        file, path = os.path.join(file, "config.json"), os.path.join(path, "config.json")
    return parse_config(path, read_bytes(file, path))


def parse_config(file: str, content: bytes) -> Source:
    """Returns the architecture in the bytes of a config.json.

    Args:
        file: The file's name in messages.
        content: The bytes of the file.

    Raises:
        ModelConfigError: The file cannot be used.
    """
    document = ConfigDocument(file, content)
    data = document.parse()
    location, part = _text_part(data)
    model_type = _model_type(document, location, part)
    _check_classes(document, location, part)
    notes = []
    if location:
        notes.append(note_on_text_part(str(data.get("model_type")), model_type, described_parts(data)))
    if data.get("quantization_config") is not None or part.get("quantization_config") is not None:
        notes.append("quantization_config is ignored: the weights are taken as not quantized")
    if model_type not in supported_model_types() or _is_of_another_class(part, family(model_type)):
        return Source({k: v for k, v in part.items() if k != "quantization_config"}, tuple(notes))
    return Source(_architecture(document, location, part, family(model_type)), tuple(notes))


def _model_type(document: ConfigDocument, location: Location, part: dict[str, Any]) -> str:
    """Returns the model type; raises ModelConfigError if there is none, or if it is no name."""
    model_type = part.get("model_type")
    if isinstance(model_type, str) and _NAME.fullmatch(model_type):
        return model_type
    message = "this field is required" if "model_type" not in part else f"must be a name, not {shown(model_type)}"
    document.add_problem((*location, "model_type"), message)
    raise document.error(hint=f"such as {', '.join(supported_model_types()[:3])}")


def _check_classes(document: ConfigDocument, location: Location, part: dict[str, Any]) -> None:
    """Raises ModelConfigError if something among the training classes is not the name of a class."""
    for place, name in enumerate(_listed(part.get("architectures"))):
        if not isinstance(name, str) or not _CLASS.fullmatch(name):
            document.add_problem((*location, "architectures", place), f"must be the name of a class, not {shown(name)}")
            raise document.error(hint='such as "architectures": ["LlamaForCausalLM"]')


def _architecture(
    document: ConfigDocument, location: Location, part: dict[str, Any], described: type[Architecture]
) -> Architecture:
    """Returns the architecture that the fields of a file make; raises ModelConfigError with all of their problems."""
    # Strict: true is not 1, and "32" is not 32. A strict tuple does not take the list that JSON has in its place.
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in part.items()}
    try:
        architecture = described.model_validate(values, strict=True)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            document.add_problem((*location, *problem["loc"]), _message(problem))
        raise document.error() from None
    if document.has_problems:
        raise document.error()
    return architecture


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_of_another_class(part: dict[str, Any], described: type[Architecture]) -> bool:
    """Returns whether the family does not describe the model of a file.

    The file then names a training class that the family does not have, one with another head, or has fields that the
    family rejects.
    """
    classes = part.get("architectures")
    other = isinstance(classes, list) and bool(classes) and not str(classes[0]).endswith(described.classes)
    return other or not described.describes(part)


def _text_part(data: dict[str, Any]) -> tuple[Location, dict[str, Any]]:
    """Returns where the language model is described, and its description.

    That is the whole file or, inside it, `text_config`.
    """
    text_config = data.get("text_config")
    if data.get("model_type") in supported_model_types() or not isinstance(text_config, dict):
        return (), data
    if "model_type" not in text_config:
        return (), data
    outer = {key: data[key] for key in ("tie_word_embeddings",) if key in data}
    return ("text_config",), {**outer, **text_config}


def _message(problem: Any) -> str:
    if problem["type"] == "missing":
        return "this field is required"
    message = str(problem["msg"]).removeprefix("Value error, ")
    expected = message.removeprefix("Input should be ")
    return message if expected == message else f"must be {expected}, not {shown(problem['input'])}"

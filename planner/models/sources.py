"""Reads architectures from outside the registry: a config.json on disk or on the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from hardware.errors import FileError, PlannerError, shown
from hardware.files import UnreadableError, read_file
from hardware.json_text import JsonError, decoded, parse_json
from hardware.reading import MAX_PROBLEMS, Location
from planner.extras import install_hint
from planner.models.architecture import Architecture
from planner.models.families import family, supported_model_types
from planner.models.text_part import described_parts, note_on_text_part

MAX_FILE_BYTES: Final = 1 << 20
"""Bytes of the largest config.json that is read."""

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_CLASS: Final = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII)
_TOKEN: Final = re.compile(r'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")(?P<colon>\s*:)?|[][{}]')


class ModelConfigError(FileError):
    """Reports a config.json that cannot be used."""

    subject = "the model configuration"
    way_out = "give a config.json as transformers' save_pretrained writes it"


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
    return parse_config(path, _read(file, path))


def download_config(repository: str, *, instead: str | None = None, from_cache: bool = False) -> Source:
    """Returns the architecture of a model on the Hugging Face Hub.

    Args:
        repository: `org/name`.
        instead: A name of the registry that needs no download, for the hint of an error.
        from_cache: Whether the local cache alone is read, without use of the network.

    Raises:
        PlannerError: The model is not there, cannot be downloaded, or its config.json cannot be used.
    """
    hint = f"{instead} of the built-in registry has the same architecture" if instead else None
    try:
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache
    except ImportError:
        hint = f"{install_hint('hub')}; {hint}" if hint else install_hint("hub")
        raise PlannerError(f"hf:{repository} needs the package huggingface_hub", hint) from None
    page = f"https://huggingface.co/{repository}"
    advice: tuple[tuple[type[Exception], str, str], ...] = (
        (errors.HFValidationError, "is not the name of a model on the Hub", "write it as in hf:org/name"),
        (errors.GatedRepoError, "is gated", f"accept its terms on {page}, then log in with: hf auth login"),
        (errors.RepositoryNotFoundError, "does not exist, or is private", "if it is private: hf auth login"),
        (errors.LocalEntryNotFoundError, *_absent(repository, from_cache)),
        (errors.EntryNotFoundError, "has no config.json", f"see the files on {page}"),
    )
    try:
        # hf_hub_download(local_files_only=True) asks the Hub as well if the file is not there (huggingface_hub 2.4).
        path = (try_to_load_from_cache if from_cache else hf_hub_download)(repository, "config.json")
        if not isinstance(path, str):
            raise errors.LocalEntryNotFoundError(repository)
    except Exception as error:  # anything that the client or its HTTP library raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        what, way_out = next(
            ((what, way_out) for kind, what, way_out in advice if isinstance(error, kind)),
            (f"cannot be downloaded: {reason}", "give the path of a config.json instead"),
        )
        raise PlannerError(f"hf:{repository} {what}", f"{way_out}; {hint}" if hint else way_out) from error
    name = f"hf:{repository}/config.json"
    return parse_config(name, _read(path, name))


def _absent(repository: str, from_cache: bool) -> tuple[str, str]:
    """Returns what an error says of a model that is not in the local cache, and the way out."""
    if from_cache:
        return "is named by a file and not in the local cache", f"--model hf:{repository} downloads it"
    return (
        "is not in the local cache, and the Hub is out of reach",
        "check the connection and HF_HUB_OFFLINE, or give the path of a config.json",
    )


def _read(file: str, name: str) -> bytes:
    try:
        return read_file(file, MAX_FILE_BYTES)
    except UnreadableError as error:
        raise ModelConfigError([f"{name}: {error}"]) from None


def parse_config(file: str, content: bytes) -> Source:
    """Returns the architecture in the bytes of a config.json.

    Args:
        file: The file's name in messages.
        content: The bytes of the file.

    Raises:
        ModelConfigError: The file cannot be used.
    """
    document = _Document(file, content)
    data = document.parse()
    location, part = _text_part(data)
    model_type = part.get("model_type")
    if not isinstance(model_type, str) or not _NAME.fullmatch(model_type):
        message = "this field is required" if "model_type" not in part else f"must be a name, not {shown(model_type)}"
        document.add_problem((*location, "model_type"), message)
        raise document.error(hint=f"such as {', '.join(supported_model_types()[:3])}")
    for place, name in enumerate(_listed(part.get("architectures"))):
        if not isinstance(name, str) or not _CLASS.fullmatch(name):
            document.add_problem((*location, "architectures", place), f"must be the name of a class, not {shown(name)}")
            raise document.error(hint='such as "architectures": ["LlamaForCausalLM"]')
    notes = []
    if location:
        notes.append(note_on_text_part(str(data.get("model_type")), model_type, described_parts(data)))
    if data.get("quantization_config") is not None or part.get("quantization_config") is not None:
        notes.append("quantization_config is ignored: the weights are taken as not quantized")
    if model_type not in supported_model_types() or _is_of_another_class(part, family(model_type)):
        return Source({k: v for k, v in part.items() if k != "quantization_config"}, tuple(notes))
    try:
        # Strict: true is not 1, and "32" is not 32. A strict tuple does not take the list that JSON has in its place.
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in part.items()}
        architecture = family(model_type).model_validate(values, strict=True)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            document.add_problem((*location, *problem["loc"]), _message(problem))
        raise document.error() from None
    if document.has_problems:
        raise document.error()
    return Source(architecture, tuple(notes))


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


@dataclass
class _Document:
    """Holds the text of a file, the places of its keys, and the problems found so far."""

    file: str
    content: bytes
    text: str = ""
    _problems: list[tuple[int, str]] = field(default_factory=list)
    _offsets: dict[Location, int] = field(default_factory=dict)

    @property
    def has_problems(self) -> bool:
        """Returns whether any problem has been found."""
        return bool(self._problems)

    def parse(self) -> dict[str, Any]:
        """Returns the file's object; raises ModelConfigError if the file holds none."""
        try:
            self.text = decoded(self.content)
            if not self.text.strip():
                raise ModelConfigError([f"{self.file}: is empty"])
            data = parse_json(self.text)
        except JsonError as error:
            place = f":{error.line}:{error.column}" if error.line else ""
            raise ModelConfigError([f"{self.file}{place}: {error.message}"]) from None
        if not isinstance(data, dict):
            raise ModelConfigError([f"{self.file}: must be an object in braces, not {shown(data)}"])
        self._locate_keys()
        return data

    def _locate_keys(self) -> None:
        """Finds the place of every key, and reports keys that come twice in one object."""
        path: list[str] = []
        seen: list[set[str]] = [set()]
        key = ""
        for token in _TOKEN.finditer(self.text):
            if token["colon"]:
                key = json.loads(token["text"])
                location = (*path[1:], key)
                self._offsets[location] = token.start()
                if key in seen[-1]:
                    self.add_problem(location, "duplicate key")
                seen[-1].add(key)
            elif token[0] in "{[":
                path.append(key)
                seen.append(set())
            elif token[0] in "}]":
                path.pop()
                seen.pop()

    def add_problem(self, location: Location, message: str) -> None:
        """Records a problem at a location.

        The nearest enclosing key that the file has gives the line and column. Raises ModelConfigError once there are as
        many problems as are reported at most.
        """
        known = location
        while known and known not in self._offsets:
            known = known[:-1]
        offset = self._offsets.get(known, -1)
        line, column = self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)
        place = f"{self.file}:{line}:{column}" if known else self.file
        self._problems.append((offset, f"{place}: {_spelled(location)}: {message}"))
        if len(self._problems) == MAX_PROBLEMS:
            raise self.error()

    def error(self, hint: str | None = None) -> ModelConfigError:
        """Returns an error with all problems, in the order of the file."""
        return ModelConfigError([problem for _, problem in sorted(self._problems)], hint)


def _spelled(location: Location) -> str:
    """Returns a location as text, such as text_config.hidden_size.

    Parts that are not plain words are quoted, so that a problem stays in one line.
    """
    parts = (str(part) if str(part).isprintable() and " " not in str(part) else repr(part) for part in location)
    return ".".join(parts) or "(file)"


def _message(problem: Any) -> str:
    if problem["type"] == "missing":
        return "this field is required"
    message = str(problem["msg"]).removeprefix("Value error, ")
    expected = message.removeprefix("Input should be ")
    return message if expected == message else f"must be {expected}, not {shown(problem['input'])}"

"""Identifies models that no family of the registry describes; replays measure what their own code does."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from hardware.errors import PlannerError
from hardware.files.untrusted import UnreadableError, read_file

MAX_CODE_BYTES: Final = 16 << 20
"""Bytes of the largest file whose changes are noticed; two larger ones look alike."""


def spelled_as_code(text: str) -> bool:
    """Returns whether a text is spelled as a function that returns a model: `package.module:function`."""
    module, colon, function = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), function))


@dataclass(frozen=True)
class Foreign:
    """Names a model by the fields of its config.json, or by a function of a module that returns it."""

    name: str
    """The name that finds it again."""
    source: Mapping[str, Any] | str
    """The fields of its config.json, or `package.module:function`."""
    notes: tuple[str, ...] = ()
    """Notes for users on how the model was read."""
    hf: str | None = None
    """Its id on the Hugging Face Hub, or None."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    num_parameters: int | None = None
    """Its exact number of parameters, where the registry has it; None where only a replay can tell."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Returns the fields of its config.json; none of a function, which has no such file."""
        return {} if isinstance(self.source, str) else self.source

    def digest(self) -> str:
        """Returns a hash that changes when the model may have changed.

        It changes with the config.json's fields, or with any file of the function's package.
        """
        if isinstance(self.source, str):
            parts = [self.source.encode(), *map(_content, _files(self.source.partition(":")[0]))]
        else:
            import json

            parts = [json.dumps(dict(self.source), sort_keys=True, default=str).encode()]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def import_from_here() -> None:
    """Lets modules of the working directory be imported, as `python -m` does.

    Call it only for a name that the user gave.
    """
    with suppress(OSError):  # a working directory that is gone
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(0, here)


def _files(module: str) -> Iterator[Path]:
    """Yields the module's file, or all Python files of the package that it is in."""
    import_from_here()
    package = module.partition(".")[0]
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # ValueError: the module has no specification, as __main__ has none
        return
    if spec is None:
        return
    if not spec.has_location and not spec.submodule_search_locations:
        raise PlannerError(
            f"{package} is built into Python: it has no function that returns a model",
            "package.module:function names one in a file of yours",
        )
    if spec.submodule_search_locations:
        for folder in spec.submodule_search_locations:
            yield from sorted(Path(folder).rglob("*.py"))
    elif spec.origin is not None:
        yield Path(spec.origin)


def _content(path: Path) -> bytes:
    try:
        return read_file(path, MAX_CODE_BYTES, pipes=False)
    except UnreadableError as error:  # importing it will say more
        return str(error).encode()

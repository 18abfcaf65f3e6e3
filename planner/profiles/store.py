"""Keeps records on disk, each in a file whose name is a digest of everything that the record depends on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from hardware.files.untrusted import UnreadableError, read_file
from planner.profiles.records import Record

R = TypeVar("R", bound=Record)

Damaged = Callable[[Path], None]
"""A function that is called with each file whose content is not what was written."""

MAX_FILE_BYTES = 16 << 20
"""Largest file that is read; a profile has about 10 kB."""

FORMAT = "2"
"""Version of the files' format: a line with the digest of the rest, then the record as JSON."""

LIBRARIES = ("torch", "transformers", "peft", "accelerate")
"""Packages whose versions a record depends on, in addition to the code of the replay."""

REPLAY = Path(__file__).parents[1] / "replay"
"""Folder of the code that makes what the records hold."""


def directory() -> Path:
    """Returns the folder of the records: `PLANNER_CACHE`, or else `training-planner` in the user's cache."""
    if chosen := os.environ.get("PLANNER_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "training-planner"


def read(kind: type[R], *key: object, damaged: Damaged) -> R | None:
    """Returns the record that was kept under a key; None if there is none, or none of that kind.

    Args:
        kind: The kind of record that is expected.
        key: Everything that the record depends on.
        damaged: Called with the file if it holds something other than what `keep` wrote: if it was cut off or edited,
            or is not a regular file.
    """
    file = _file(key)
    try:
        digest, _, content = read_file(file, MAX_FILE_BYTES, pipes=False).partition(b"\n")
    except UnreadableError:
        if os.path.lexists(file):
            damaged(file)
        return None
    if digest != _digest(content):
        damaged(file)
        return None
    try:
        return kind.model_validate_json(content)
    except ValidationError:  # a record of another kind
        return None


def keep(record: Record, *key: object) -> None:
    """Keeps a record under a key, in a file that is written whole or not at all.

    A cache that cannot be written is no error: the next run then replays again.

    Args:
        record: The record to keep.
        key: Everything that the record depends on, as for `read`.
    """
    file, content = _file(key), record.model_dump_json().encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(_digest(content) + b"\n" + content)
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError:
        return


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _file(key: tuple[object, ...]) -> Path:
    """Returns the path of a key's file; the replay's code and the versions of `LIBRARIES` are part of the key."""
    parts = [FORMAT, *map(str, key), digest_of_replay(), *(f"{name} {_version(name)}" for name in LIBRARIES)]
    return directory() / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.json"


@cache
def digest_of_replay() -> str:
    """Returns a digest of the replay's code, so that a newer one makes its records again."""
    files = sorted(REPLAY.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"

"""Chooses the format in which a timeline is written: the file's suffix decides."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from planner.extras import MissingExtraError, install_hint
from planner.files import OutputFileError
from planner.records.verification import Verification

if TYPE_CHECKING:  # a timeline comes from a replay, which imports torch
    from planner.replay.recording.timeline import Timeline

    Renderer = Callable[[Timeline, Verification], bytes]

FORMATS = {".html": "html", ".png": "png", ".csv": "csv"}
"""Modules of this package by suffix; each has a function `render` and is imported when it is asked for."""


def renderer_of(path: Path) -> Renderer:
    """Returns the function that makes the file.

    Raises:
        OutputFileError: The suffix is that of no format.
        MissingExtraError: The library that the format needs is not installed.
    """
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        what = f"{path.suffix} file" if path.suffix else f"file without a suffix ({path.name})"
        raise OutputFileError(f"a timeline cannot be a {what}", f"one of {', '.join(FORMATS)}")
    try:
        render: Renderer = import_module(f"{__package__}.{name}").render
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"a {path.suffix} timeline needs {error.name}", install_hint("plot")) from None
    return render

"""Loads plug-ins: Python modules that add models, families or choices of an axis when they are imported.

The command line imports those that the environment variable PLANNER_PLUGINS names: files or modules, separated by
commas. A program imports its own. Catalogs and search spaces are data and need no plug-in.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from hardware import PlannerError

VARIABLE = "PLANNER_PLUGINS"
"""Environment variable that names the plug-ins."""

_WAY_OUT = f"{VARIABLE} names files and modules"
_LONGEST_REASON = 200

_loaded: set[str] = set()


class PluginError(PlannerError):
    """Reports a plug-in that cannot be imported."""


def load_plugins() -> None:
    """Imports the plug-ins that PLANNER_PLUGINS names, each once in the life of the process.

    Raises:
        PluginError: A plug-in does not exist or fails.
    """
    text = os.environ.get(VARIABLE, "").strip()
    for name in (part.strip() for part in text.split(",")) if text else ():
        if name not in _loaded:
            _load(name)
            _loaded.add(name)


def said(error: BaseException) -> str:
    """Returns the message of an exception; empty if making the message fails."""
    try:
        return str(error)
    except BaseException:
        return ""


def _load(name: str) -> None:
    try:
        if name.endswith(".py"):
            _load_file(name)
        else:
            _load_module(name)
    except (KeyboardInterrupt, PluginError):
        raise
    except BaseException as error:  # including SystemExit: a plug-in must not end the process
        if isinstance(error, PlannerError) and hasattr(error, "hint"):
            raise PluginError(f"plug-in {name}: {error.message}", error.hint) from None
        reason = " ".join(said(error).split())[:_LONGEST_REASON]
        failure = f"{type(error).__name__}{': ' if reason else ''}{reason}"
        raise PluginError(f"plug-in {name} failed with {failure}", _WAY_OUT) from error


def _load_module(name: str) -> None:
    if not name:
        raise PluginError(f"{VARIABLE} has an empty name beside a comma", _WAY_OUT)
    if not all(name.split(".")) or os.sep in name:
        raise PluginError(f"plug-in {name}: neither a .py file nor the name of a module", _WAY_OUT)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):  # the plug-in itself, not a module that it imports
            raise PluginError(f"plug-in {name}: no such module", _WAY_OUT) from None
        raise


def _load_file(name: str) -> None:
    path = Path(name).expanduser()
    if not path.is_file():  # this excludes a FIFO, which reading would wait for
        raise PluginError(f"plug-in {path}: {'not a file' if path.exists() else 'no such file'}", _WAY_OUT)
    module_name = f"planner_plugin_{path.stem}"
    while module_name in sys.modules:  # there may be a file of the same name elsewhere
        module_name += "_"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(module_name, None)
        raise

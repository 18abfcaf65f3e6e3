"""Plug-ins: Python modules that add models, families or choices of an axis when they are imported.

The command line imports those that the variable PLANNER_PLUGINS names, files or modules with commas between them; a
program imports its own. Catalogs and search spaces are data and need none.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from hardware import PlannerError

VARIABLE = "PLANNER_PLUGINS"

_loaded: set[str] = set()


class PluginError(PlannerError):
    """A plug-in that cannot be imported."""


def load_plugins() -> None:
    """Imports what PLANNER_PLUGINS names, each once.

    Raises PluginError for a module that fails.
    """
    for name in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        if name not in _loaded:
            _load(name)
            _loaded.add(name)


def _load(name: str) -> None:
    try:
        if name.endswith(".py"):
            _load_file(Path(name).expanduser())
        else:
            importlib.import_module(name)
    except PluginError:
        raise
    except PlannerError as error:
        raise PluginError(f"plug-in {name}: {error.message}", error.hint) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise PluginError(
            f"plug-in {name} failed with {type(error).__name__}: {reason}", f"{VARIABLE} names files and modules"
        ) from error


def _load_file(path: Path) -> None:
    if not path.is_file():
        raise PluginError(f"plug-in {path}: no such file", f"{VARIABLE} names files and modules")
    spec = importlib.util.spec_from_file_location(f"planner_plugin_{path.stem}", path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

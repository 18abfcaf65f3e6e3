"""Detects other packages that have the common names of the planner's own, `hardware` and `strategies`."""

import os
import sys

NEIGHBOURS = ("hardware", "strategies")
"""Packages of the planner that are installed next to this one."""


def stranger() -> str | None:
    """Returns a message about a package that Python would import instead of the planner's own, or None.

    Packages that are not on the path are not judged, since an editable installation may have finders of its own.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in NEIGHBOURS:
        own, found = os.path.join(home, name), _found(name)
        if found is not None and os.path.isdir(own) and os.path.realpath(found) != os.path.realpath(own):
            return (
                f"the planner's own package {name!r} is in {home}, but Python finds another one of that name: {found}. "
                "Run Python elsewhere, or install the planner in an environment of its own"
            )
    return None


def _found(name: str) -> str | None:
    """Returns the folder or the file that `import name` uses or has used; None if it is not on the path."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        return _package(origin) if origin else None
    for entry in sys.path:
        folder = os.path.join(entry or os.getcwd(), name)
        if os.path.isfile(os.path.join(folder, "__init__.py")):
            return folder
        if os.path.isfile(f"{folder}.py"):
            return f"{folder}.py"
    return None


def _package(origin: str) -> str:
    """Returns the folder of a package, given its `__init__`, or the file of a module."""
    return os.path.dirname(origin) if os.path.basename(origin).startswith("__init__.") else origin

"""Two of the planner's packages have common names: another one in their way is told apart before it is used."""

import os
import sys

TYPE_CHECKING = False  # typing's own would take milliseconds, in which an interrupt finds no handler yet
if TYPE_CHECKING:
    from collections.abc import Sequence

NEIGHBOURS = ("hardware", "strategies")
"""Packages that are installed next to this one."""


def stranger(names: "Sequence[str]" = NEIGHBOURS) -> str | None:
    """Says which package stands in the way of the planner's own of that name, and where; None where none does.

    A package that cannot be found on the path is not judged: an editable installation may have finders of its own.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in names:
        own, found = os.path.join(home, name), _found(name)
        if found is not None and os.path.isdir(own) and os.path.realpath(found) != os.path.realpath(own):
            return (
                f"the planner's own package {name!r} is in {home}, but Python finds another one of that name: {found}. "
                "Run Python elsewhere, or install the planner in an environment of its own"
            )
    return None


def _found(name: str) -> str | None:
    """The folder, or the file, that `import name` takes or has taken."""
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
    return os.path.dirname(origin) if os.path.basename(origin).startswith("__init__.") else origin

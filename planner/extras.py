"""Optional extras: imported when they are needed, with a way out where they are not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hardware import PlannerError

Progress = Callable[[str], None]
"""Is told what takes long."""


def install_hint(extra: str) -> str:
    """Says how an extra is installed: its libraries by name, which works wherever the planner came from."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needed = requires("training-planner") or []
    except PackageNotFoundError:  # a checkout that is on the path, and not installed
        return f"pip install '.[{extra}]' in the planner's checkout"
    marked = (text.partition(";") for text in needed)
    names = [name.strip() for name, _, marker in marked if extra in marker.replace("'", '"').split('"')]
    return f"pip install {' '.join(repr(name) for name in names)}"


class MissingExtraError(PlannerError):
    """A feature whose libraries are not installed."""


@contextmanager
def needed_for(feature: str, extra: str) -> Iterator[None]:
    """Surrounds the imports of a feature.

    Raises:
        MissingExtraError: a library of the extra is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{feature} needs {error.name}", install_hint(extra)) from None

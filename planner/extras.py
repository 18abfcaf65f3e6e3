"""Handles optional extras, which are imported only when needed, with a hint if they are not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hardware import PlannerError

Progress = Callable[[str], None]
"""Function that is called with a line of text about what takes long."""


def install_hint(extra: str) -> str:
    """Returns the pip command that installs an extra.

    It names the libraries of the extra rather than the planner, which works wherever the planner was installed from.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needed = requires("training-planner") or []
    except PackageNotFoundError:
        needed = []
    marked = (text.partition(";") for text in needed)
    names = [name.strip() for name, _, marker in marked if extra in marker.replace("'", '"').split('"')]
    if not names:  # a checkout that is not installed, or was before it had the extra
        return f"pip install '.[{extra}]' in the planner's checkout"
    return f"pip install {' '.join(repr(name) for name in names)}"


class MissingExtraError(PlannerError):
    """Reports a feature whose libraries are not installed; the hint says how to install them."""


@contextmanager
def needed_for(feature: str, extra: str) -> Iterator[None]:
    """Surrounds the imports of a feature.

    Args:
        feature: What needs the libraries, as the error names it.
        extra: Extra of the distribution that installs them.

    Raises:
        MissingExtraError: A library of the extra is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{feature} needs {error.name}", install_hint(extra)) from None

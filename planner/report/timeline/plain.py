"""matplotlib as it comes: a `matplotlibrc` of the working directory may name programs to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def plain_matplotlib() -> Iterator[None]:
    """Has an import of matplotlib read the settings that it ships (matplotlib/__init__.py, `matplotlib_fname`)."""
    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path()
    chosen = {"MATPLOTLIBRC": str(folder / "mpl-data" / "matplotlibrc"), "MPLBACKEND": "agg"}
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value

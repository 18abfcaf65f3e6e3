"""Loads matplotlib with its own settings, whatever the working directory and the environment say."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

BACKEND = "MPLBACKEND"
"""Environment variable that names matplotlib's backend."""


@contextmanager
def plain_matplotlib() -> Iterator[None]:
    """Surrounds the first import of matplotlib, which reads the working directory's `matplotlibrc`.

    matplotlib complains about bad settings there; that is silenced. The settings are not used: code that draws takes
    `rcParamsDefault`. The backend that the environment names is not loaded, but matplotlib would check its name, so
    another name replaces it during the import.
    """
    logger, before = logging.getLogger("matplotlib"), os.environ.get(BACKEND)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    os.environ[BACKEND] = "agg"
    try:
        yield
    finally:
        logger.setLevel(level)
        del os.environ[BACKEND]
        if before is not None:
            os.environ[BACKEND] = before

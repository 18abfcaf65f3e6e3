"""matplotlib as it comes, whatever the working directory and the environment say."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

BACKEND = "MPLBACKEND"


@contextmanager
def plain_matplotlib() -> Iterator[None]:
    """Around its first import, which reads a `matplotlibrc` of the working directory and complains about what it says.

    What it says is not used: who draws takes `rcParamsDefault`. Of the backend nothing is loaded, but its name checked.
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

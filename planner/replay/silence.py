"""Silences library logs during imports and runs on fake tensors; none of them concern the user's step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = {
    "torch._subclasses.fake_tensor": logging.CRITICAL,  # failures that are raised as exceptions as well
    "torchao": logging.ERROR,  # warnings of CUDA libraries that a CPU cannot load
    "torch.utils._pytree": logging.ERROR,  # warnings of the way torchao registers its enums
}
"""The level from which on messages pass, by logger."""


@contextmanager
def quiet() -> Iterator[None]:
    """Lets only messages of the levels in `LOGGERS` and above pass while the context lasts."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name, level in LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

"""What libraries log while they are imported and run on fake tensors, of which nothing is about the user's step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = {
    "torch._subclasses.fake_tensor": logging.CRITICAL,  # what then becomes an error
    "torchao": logging.ERROR,  # CUDA libraries that a CPU cannot load
    "torch.utils._pytree": logging.ERROR,  # how torchao registers its enums
}


@contextmanager
def quiet() -> Iterator[None]:
    """Only what is worse passes."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name, level in LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

"""Silences library logs during imports and runs on fake tensors; none of them concern the user's step."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import transformers

LOGGERS = {
    "torch._subclasses.fake_tensor": logging.CRITICAL,  # failures that are raised as exceptions as well
    "torchao": logging.ERROR,  # warnings of CUDA libraries that a CPU cannot load
    "bitsandbytes": logging.ERROR,  # warnings of optional kernels that a CPU would have
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


ALL, YOUNG = 2, 1
"""Generations up to which `undisturbed` collects garbage."""


@contextmanager
def undisturbed(garbage: int = ALL) -> Iterator[None]:
    """Switches off warnings, logs and the garbage collector while the context lasts.

    The collector frees cycles at arbitrary times. Without it a step frees each tensor when it loses its last owner,
    which is always at the same moment.

    Args:
        garbage: What is collected before: `ALL` where tensors are real and would be measured, or `YOUNG` where they are
            not, since a look at all objects of the imported libraries takes a quarter of a second.
    """
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity(logging.CRITICAL)  # its errors quote values of the user's configuration
        gc.collect(garbage)
        gc.disable()
        try:
            yield
        finally:
            gc.enable()

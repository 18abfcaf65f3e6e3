"""Imports code that a user names, and says where the code of a model fails."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from hardware import PlannerError
from planner.models.foreign import import_from_here


class ModelCodeError(PlannerError):
    """Raised for a model whose code fails, or whose inputs or loss are not known."""


def module_name(source: str) -> str:
    """Returns the module of `package.module:function`."""
    return source.partition(":")[0]


def module_of(source: str) -> ModuleType:
    """Imports the user's module, also from the working directory."""
    name = module_name(source)
    import_from_here()
    with blamed(name):
        return importlib.import_module(name)


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Turns any failure of the code in the context into a `ModelCodeError` that says where it happened."""
    try:
        yield
    except (PlannerError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, too: the code is not the planner's
        raise failure(what, error) from error


def failure(what: str, error: BaseException) -> ModelCodeError:
    """Makes the error to raise for a failure of a model's code.

    Args:
        what: The code that was run, as the message names it.
        error: The failure. The message says the last line that it went through outside of torch and the replay.
    """
    frames = traceback.extract_tb(error.__traceback__)
    library = (os.path.dirname(torch.__file__), os.path.dirname(os.path.dirname(__file__)), "<frozen")
    own = [frame for frame in frames if not frame.filename.startswith(library)]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    reason = " ".join(str(error).split())[:300]
    return ModelCodeError(f"{what} failed with {type(error).__name__}: {reason}{where}", "run it once by itself")

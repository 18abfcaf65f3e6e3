"""Reads models that a file names: code runs, and the network is used, only where the user repeats the name.

Any code that reads a model's name from a file passes it through here; SECURITY.md says what is trusted.
"""

from __future__ import annotations

import shlex

from hardware.errors import PlannerError, shown
from planner.models.foreign import Foreign, spelled_as_code
from planner.models.model import Model
from planner.models.registry import is_hub_id, recognize


class UntrustedError(PlannerError):
    """Reports a file that asks for more than the reading of data."""


def named_in(file: str, name: str, repeated: str | None) -> Model | Foreign:
    """Returns the model that a file names.

    Args:
        file: The file's name in messages.
        name: The model's name in the file.
        repeated: The model's name as the user gives it in addition to the file, or None.

    Raises:
        UntrustedError: The name is of code, and the user does not repeat it.
        PlannerError: The user names another model; there is no such model, or it is not in the local cache.
    """
    if repeated is not None and repeated.strip() != name.strip():
        raise PlannerError(f"--model is {shown(repeated)}, but {file} is of {shown(name)}", f"--model {_quoted(name)}")
    if repeated is None and spelled_as_code(name.strip()) and not is_hub_id(name):
        raise UntrustedError(
            f"{file} names the code {shown(name)}, which would be imported and run",
            f"if you trust it, say so: --model {_quoted(name)}",
        )
    return recognize(name, from_cache=repeated is None)


def _quoted(name: str) -> str:
    """Returns a name as a shell takes it, shortened to 200 characters."""
    return shlex.quote(name.strip()[:200])

"""Provides the functions of the public API that ask for plans, a question a file.

What asks many questions is imported when it is first used: a command that asks one starts without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from planner.api.fit import fit

if TYPE_CHECKING:
    from planner.api.comparison import compare
    from planner.api.estimation import estimate
    from planner.api.machines import fit_machines
    from planner.api.sweeps import sweep

__all__ = ["compare", "estimate", "fit", "fit_machines", "sweep"]

_HOMES = {"compare": "comparison", "estimate": "estimation", "fit_machines": "machines", "sweep": "sweeps"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"planner.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

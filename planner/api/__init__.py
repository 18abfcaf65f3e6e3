"""Provides the functions of the public API that ask for plans, a question a file."""

from planner.api.fit import estimate, fit
from planner.api.machines import fit_machines

__all__ = ["estimate", "fit", "fit_machines"]

"""Provides the functions of the public API that ask for plans, a question a file."""

from planner.api.compare import compare
from planner.api.estimate import estimate
from planner.api.fit import fit
from planner.api.machines import fit_machines
from planner.api.sweep import sweep

__all__ = ["compare", "estimate", "fit", "fit_machines", "sweep"]

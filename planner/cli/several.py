"""Answers `planner fit` where it asks for several machines."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hardware import PlannerError
from planner.cli.output import print_record, print_report, show_progress
from planner.problem.sites import are_several

if TYPE_CHECKING:
    from planner.records.machines import MachineRanking


def asks_for_several(arguments: dict[str, Any]) -> bool:
    """Returns whether arguments of `planner fit` ask for several machines; if not, the catalog in them is loaded."""
    from hardware import load_catalog

    loaded = load_catalog(arguments["catalog"])
    if are_several(arguments["gpu"], arguments["gpus"], arguments["nodes"], loaded):
        return True
    arguments["catalog"] = loaded
    return False


def fit_machines(ctx: click.Context, model: str, arguments: dict[str, Any], *, as_json: bool) -> MachineRanking:
    """Prints the ranking of the machines and returns it.

    Raises:
        PlannerError: An argument belongs to one machine.
    """
    from planner.api import fit_machines as rank
    from strategies import OPTIONS

    known = {*signature(rank).parameters, *OPTIONS}
    for name in arguments.keys() - known:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise PlannerError(f"{option} is for one machine, not for several", "--gpu A100-40GB, the one you choose")
    asked = {name: value for name, value in arguments.items() if name in known}
    result = rank(model, **asked, progress=show_progress)
    if as_json:
        print_record(result)
    else:
        from planner.report.machine_ranking import MachineRankingReport

        print_report(MachineRankingReport(result))
    return result

"""Answers `planner fit` where it asks for several machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardware import PlannerError
from planner.cli.output import print_document, print_report, show_progress
from planner.problem.sites import are_several

if TYPE_CHECKING:
    from planner.records.machines import MachineRanking

_OF_ONE = ("pareto", "sampler", "trials", "timeout", "seed", "storage", "verify", "plot")
"""Arguments of `fit` that belong to one machine."""


def asks_for_several(arguments: dict[str, Any]) -> bool:
    """Returns whether arguments of `planner fit` ask for more than one machine; the catalog in them is loaded."""
    from hardware import load_catalog

    arguments["catalog"] = load_catalog(arguments["catalog"])
    return are_several(arguments["gpu"], arguments["gpus"], arguments["nodes"], arguments["catalog"])


def fit_machines(model: str, arguments: dict[str, Any], *, as_json: bool) -> MachineRanking:
    """Prints the ranking of the machines and returns it.

    Raises:
        PlannerError: An argument belongs to one machine.
    """
    from planner.api import fit_machines as rank

    given = [name for name in _OF_ONE if arguments.pop(name)]
    if given or arguments.pop("engine") != "exhaustive":
        option = f"--{given[0]}" if given else "--engine"
        raise PlannerError(f"{option} is for one machine, not for several", "--gpu A100-40GB, the one you choose")
    result = rank(model, **arguments, progress=show_progress)
    if as_json:
        print_document(result.model_dump_json(indent=2))
    else:
        from planner.report.machine_ranking import MachineRankingReport

        print_report(MachineRankingReport(result))
    return result

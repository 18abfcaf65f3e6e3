"""Provides `fit_machines`, which asks one question of many machines and ranks them."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from planner.answers.machine_ranking import ranking_of
from planner.answers.machines import Placing
from planner.models import Model
from planner.problem.arguments import RankingArguments
from planner.problem.problem import Problem, catalog_of
from planner.problem.questions import options_in, question
from planner.problem.search_request import fields_of, number_of, solver_of
from planner.problem.sites import ANY, Counts, Names, sites_of
from planner.records.asked.axes import RequestError
from planner.records.machines import MachineRanking
from strategies import Objective


@question(RankingArguments)
def fit_machines(
    model: str | Model,
    *,
    gpu: Names = ANY,
    gpus: Counts = None,
    nodes: Counts = 1,
    **asked: Unpack[RankingArguments],
) -> MachineRanking:
    """Ranks machines by the best plan that each of them has.

    Machines are left out whose GPUs cannot divide a wanted effective batch, which take longer than a deadline allows,
    or whose price is not known where the objective is `cost`, its default where a run has a budget.

    Args:
        model: The model, as for `fit`.
        gpu: Names of GPUs and machines, several in a sequence or with commas between them; `any` for all GPUs of the
            catalog, `machines` for all machines, the name of a provider such as `AWS` for all of its machines.
        gpus: GPUs per node, one or several numbers; one for GPUs if None. Machines of a group that have another number
            are left out.
        nodes: Numbers of nodes. More than one are of the largest number of GPUs only.
        asked: Options of `SearchSpace` by name.

    Returns:
        The `top` best machines with their best plans, and the smallest, the fastest and the cheapest one.

    Raises:
        PlannerError: For the same reasons as `fit`, or because the catalog has none of the machines.
    """
    if asked["objective"] is None and asked["budget"] is not None:
        asked["objective"] = Objective.COST
    catalog = asked["catalog"]
    loaded = catalog_of(catalog)
    sites = sites_of(gpu, loaded, gpus, nodes)
    if not sites:
        raise RequestError("the catalog has no such machine with so many GPUs", "planner machines lists all")
    (first, number), *_ = sites
    fields = fields_of({**asked, "gpus": first.gpus, "nodes": number})
    problem = Problem(model, first.gpu, loaded, options_in(asked), fields, asked["progress"], asked["space"])
    placing = Placing(problem, solver_of)
    found, file = placing.all(sites), str(catalog) if isinstance(catalog, str | Path) else None
    return ranking_of(problem, found, placing, len(sites), number_of("top", asked["top"]), file)

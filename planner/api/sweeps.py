"""Provides `sweep`, which asks one question of many models, machines and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from planner.models import registry_models
from planner.problem.arguments import SearchArguments
from planner.problem.problem import catalog_of
from planner.problem.questions import options_in, question
from planner.problem.search_request import number_of
from planner.problem.sites import ANY, Counts, Names, sites_of
from planner.records.asked.amounts import parse_length
from planner.records.asked.axes import RequestError, several
from planner.records.sweep import SweepResult
from planner.sweeps.run import run
from planner.sweeps.unit import Asked

ALL = ("all", "any")
"""Names that stand for all models of the registry that a family describes."""


@question(SearchArguments)
def sweep(
    models: str | Sequence[str],
    *,
    gpu: Names = ANY,
    gpus: Counts = None,
    nodes: Counts = 1,
    sequence_length: int | str | Sequence[int | str] = (),
    output: str | Path | None = None,
    jobs: int | None = None,
    **asked: Unpack[SearchArguments],
) -> SweepResult:
    """Plans models on machines at several lengths, and returns the best plan of each fine-tuning method everywhere.

    Args:
        models: Names of models, as for `fit`, one or several; `all` for all of the registry that a family describes.
        gpu: GPUs and machines, as for `fit_machines`.
        gpus: GPUs per node, one or several numbers.
        nodes: Numbers of nodes.
        sequence_length: Tokens per sequence, one or several; by default what is usual with each model.
        output: File that gets the rows, `.csv` or `.parquet` (needs the extra `parquet`). It is written as rows come,
            and a file that has some is completed.
        jobs: Processes; by default as many as there are cores.
        asked: Options of `SearchSpace` by name.

    Returns:
        A row for each model, machine, length and method. A model that cannot be planned has one row with the reason.

    Raises:
        SweepFileError: The file holds something else, or its name says no format.
        MissingExtraError: The file is to be Parquet, and pyarrow is not installed.
        PlannerError: The catalog has none of the machines, or an argument makes no sense.
    """
    options, loaded = options_in(asked), catalog_of(asked["catalog"])
    sites = sites_of(gpu, loaded, gpus, nodes)
    names = [name for model in ([models] if isinstance(models, str) else models) for name in _named(model)]
    if not sites or not names:
        raise RequestError("a sweep is of at least one model and one machine", "planner machines lists all")
    lengths = tuple(parse_length("sequence_length", length) for length in several(sequence_length)) or (None,)
    units = [(name, length) for name in dict.fromkeys(names) for length in lengths]
    given = {name: value for name, value in asked.items() if name not in {*options, "catalog", "space", "progress"}}
    unit = Asked(loaded.gpus, loaded.machines, tuple(sites), given, options, asked["space"])
    path = None if output is None else Path(output)
    return run(unit, units, path, None if jobs is None else number_of("jobs", jobs), asked["progress"])


def _named(model: str) -> list[str]:
    return [found.name for found in registry_models()] if model in ALL else [model]

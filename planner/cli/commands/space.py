"""Defines the command `planner space show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from planner.cli.arguments import FILE, GPU_NAME
from planner.cli.command import Group
from planner.cli.options import axis_options, catalog_option, json_option, number_option, option
from planner.cli.output import print_document, print_report


@click.group(cls=Group, examples=("planner space show --gpu A100-40GB",))
def space() -> None:
    """Work with search spaces: what `planner fit` searches of every option."""


@space.command(
    examples=(
        "planner space show --gpu A100-40GB",
        "planner space show my-space.yaml --gpu H100 --gpus 8",
        "planner space show --gpu T4 --json > my-space.yaml",
    )
)
@click.argument("file", type=FILE, required=False)
@option("--gpu", type=GPU_NAME, metavar="NAME", section="Machine", help="See `planner gpus`.", required=True)
@number_option("--gpus", "Machine", "GPUs per node; 1, or as many as the machine has, unless given.")
@number_option("--nodes", "Machine", "Nodes.", default=1)
@axis_options
@catalog_option
@json_option
def show(
    file: Path | None, gpu: str, gpus: int | None, nodes: int, catalog: Path | None, as_json: bool, **axes: Any
) -> None:
    """Show what is searched on a machine: by default, or with a YAML FILE and options that narrow or widen it.

    The JSON holds every option with its values: it can be edited and given back to `planner fit --space`.
    """
    from hardware import load_catalog
    from planner.problem.site import Site
    from planner.records.asked.described import described

    description = described(file, Site.of(gpu, load_catalog(catalog), gpus).cluster(nodes, None), axes)
    if as_json:
        from planner.report.documents import space_document

        print_document(space_document(description))
    else:
        from planner.report.catalog.space import SpaceReport

        print_report(SpaceReport(description))

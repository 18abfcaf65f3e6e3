"""Defines the commands `planner gpus` and `planner gpus show`."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.arguments import GPU_NAME
from planner.cli.command import Group
from planner.cli.options import catalog_option, json_option
from planner.cli.output import print_document, print_report


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=("planner gpus", "planner gpus show A100-40GB", "planner gpus --json"),
)
@catalog_option
@json_option
@click.pass_context
def gpus(ctx: click.Context, catalog: Path | None, as_json: bool) -> None:
    """List the GPUs of the catalog.

    The JSON is a catalog again: what is printed can be edited and given back as --catalog.
    """
    if ctx.invoked_subcommand is not None:
        return
    from hardware import load_catalog

    found = load_catalog(catalog).gpus
    if as_json:
        from planner.report.documents import gpus_document

        print_document(gpus_document(found))
    else:
        from planner.report.gpus import GPUList

        print_report(GPUList(found))


@gpus.command(examples=("planner gpus show A100-40GB", "planner gpus show my-gpu --catalog my.yaml --json"))
@click.argument("name", type=GPU_NAME)
@catalog_option
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, catalog: Path | None, as_json: bool) -> None:
    """Show everything that the catalog says about one GPU."""
    from hardware import load_catalog

    listing = ctx.parent.params if ctx.parent else {}
    loaded = load_catalog(catalog or listing.get("catalog"))
    gpu = loaded.get(name)
    if as_json or listing.get("as_json"):
        from planner.report.documents import gpus_document

        print_document(gpus_document([gpu]))
    else:
        from planner.report.gpus import GPUCard

        print_report(GPUCard(gpu, [machine for machine in loaded.machines if machine.gpu == gpu.name]))

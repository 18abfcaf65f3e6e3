"""Defines the commands `planner machines` and `planner machines show`."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.arguments import MACHINE_NAME
from planner.cli.command import Group
from planner.cli.options import catalog_option, json_option
from planner.cli.output import print_document, print_report


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=("planner machines", "planner machines show p5.48xlarge", "planner machines --json"),
)
@catalog_option
@json_option
@click.pass_context
def machines(ctx: click.Context, catalog: Path | None, as_json: bool) -> None:
    """List the machines of the catalog: what clouds rent as a whole.

    The JSON is a catalog again: what is printed can be edited and given back as --catalog.
    """
    if ctx.invoked_subcommand is not None:
        return
    from hardware import load_catalog

    found = load_catalog(catalog).machines
    if as_json:
        from planner.report.documents import machines_document

        print_document(machines_document(found))
    else:
        from planner.report.machines import MachineList

        print_report(MachineList(found))


@machines.command(
    examples=("planner machines show p5.48xlarge", "planner machines show my-machine --catalog my.yaml --json")
)
@click.argument("name", type=MACHINE_NAME)
@catalog_option
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, catalog: Path | None, as_json: bool) -> None:
    """Show everything that the catalog says about one machine."""
    from hardware import load_catalog

    listing = ctx.parent.params if ctx.parent else {}
    machine = load_catalog(catalog or listing.get("catalog")).machine(name)
    if as_json or listing.get("as_json"):
        from planner.report.documents import machines_document

        print_document(machines_document([machine]))
    else:
        from planner.report.machines import MachineCard

        print_report(MachineCard(machine))

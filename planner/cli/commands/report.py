"""Defines the command `planner report`."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.arguments import FILE
from planner.cli.command import Command
from planner.cli.options import catalog_option, option
from planner.cli.output import print_text


@click.command(
    cls=Command,
    examples=(
        "planner report plan.json",
        "planner report on-h100.json on-a100.json -o machines.html",
    ),
)
@click.argument("plans", type=str, metavar="PLAN...", nargs=-1, required=True)
@option("-o", "--output", type=FILE, metavar="FILE", default="report.html", show_default=True, help="The page.")
@catalog_option
def report(plans: tuple[str, ...], output: Path, catalog: Path | None) -> None:
    """Draw answers as one page of HTML that needs no network.

    PLAN is a file that `planner fit --json` or `planner estimate --json` wrote, or - for standard input; several are
    drawn side by side. So is a ranking of machines.

    The page shows memory at each moment of the step against the budget, memory and speed over the micro-batch and the
    length of sequences, effective batch or price against speed and free memory, what the seconds go to, a ranking that
    sorts, and commands to copy.
    """
    from planner.files import check_writable, write_whole
    from planner.pages.report import report_page

    check_writable(output)
    write_whole(output, report_page(*plans, catalog=catalog).encode())
    print_text(str(output))

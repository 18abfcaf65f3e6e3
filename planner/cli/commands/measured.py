"""Defines the command `planner measured`."""

from __future__ import annotations

import click

from planner.cli.arguments import SHARE
from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT
from planner.cli.options import json_option, option
from planner.cli.output import print_record, print_report


@click.command(cls=Command, examples=("planner measured run/measured.jsonl", "planner measured - --within 2% < line"))
@click.argument("file", type=str)
@option(
    "--within",
    type=SHARE,
    metavar="SHARE",
    help="Exit with 1 when a peak is further from its prediction, or was not measured.",
)
@json_option
@click.pass_context
def measured(ctx: click.Context, /, file: str, within: float | None, as_json: bool) -> None:
    """Compare what exported scripts measured with what their plans predicted.

    FILE is the measured.jsonl that a script of `planner export --to transformers` or pytorch leaves, with a line for
    each run, or - for standard input. Differences are of the prediction: +1% is a plan that says more than was there.
    """
    from planner.exporting.measured import measured as compared

    result = compared(file)
    if as_json:
        print_record(result)
    else:
        from planner.report.measured import MeasuredReport

        print_report(MeasuredReport(result))
    if within is not None and not result.is_within(within):
        ctx.exit(DOES_NOT_FIT)

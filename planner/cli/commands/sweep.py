"""Defines the command `planner sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from planner.cli.arguments import FILE
from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT
from planner.cli.machine_options import sweep_options
from planner.cli.options import json_option, number_option, option
from planner.cli.output import print_record, print_report, show_progress
from planner.cli.workload_options import lengths_option, search_options, task_option


@click.command(
    cls=Command,
    examples=(
        "planner sweep llama-3-8b qwen2.5-7b --gpu any --sequence-length 1024,4096",
        "planner sweep all --gpu A100-40GB --gpus 8 -o models.csv",
    ),
)
@sweep_options
@task_option
@lengths_option
@search_options
@option("-o", "--output", type=FILE, metavar="FILE", help="A .csv or .parquet that gets the rows; it is completed.")
@number_option("--jobs", "Options", "Processes; as many as there are cores unless given.")
@json_option
@click.pass_context
def sweep(ctx: click.Context, /, as_json: bool, models: tuple[str, ...], output: Path | None, **arguments: Any) -> None:
    """Plan every MODEL on every machine at every length, and show the best plan of each fine-tuning method.

    MODEL is as for `fit`, or `all` for the registry. A sweep that was interrupted goes on where its file ends.

    Exits with 1 when nothing fits anywhere.
    """
    from planner.api import sweep as run

    arguments["sequence_length"] = arguments["sequence_length"] or ()
    result = run(models, output=output, **arguments, progress=show_progress)
    if as_json:
        print_record(result)
    else:
        from planner.report.sweep import SweepReport

        print_report(SweepReport(result, str(output) if output else None))
    if not any(row.fits for row in result.rows):
        ctx.exit(DOES_NOT_FIT)

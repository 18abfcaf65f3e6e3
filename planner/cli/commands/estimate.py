"""Defines the command `planner estimate`."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT
from planner.cli.machine_options import machine_options
from planner.cli.options import axis_options, catalog_option, json_option, number_option, plot_option
from planner.cli.output import print_record, print_report, show_progress
from planner.cli.workload_options import configuration_options, loop_options

_WORKLOAD = "Workload"


@click.command(
    cls=Command,
    examples=(
        "planner estimate llama-2-7b --gpu A100-40GB --finetuning lora",
        "planner estimate llama-3-8b --gpu H100 --gpus 8 --micro-batch-size 4 --json",
    ),
)
@machine_options
@configuration_options
@number_option("--global-batch-size", _WORKLOAD, "The effective batch, which decides the passes.")
@loop_options
@axis_options
@catalog_option
@plot_option
@json_option
@click.pass_context
def estimate(ctx: click.Context, /, as_json: bool, plot: bool, model: str, **arguments: Any) -> None:
    """Itemise the memory of one configuration of MODEL, whether it fits or not.

    MODEL is as for `fit`. Techniques take one choice each.

    Exits with 1 when it does not fit, and says what would; the answer is printed all the same.
    """
    from planner.api import estimate as itemise

    result = itemise(model, **arguments, progress=show_progress)
    if as_json:
        print_record(result)
    else:
        from planner.report.estimate import EstimateReport

        print_report(EstimateReport(result))
        if plot:
            from planner.report.plots.answer import plotted

            print_report(plotted(result, arguments["catalog"]))
    if not result.memory.fits:
        ctx.exit(DOES_NOT_FIT)

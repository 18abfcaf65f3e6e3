"""Defines the command `planner estimate`."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.command import Command
from planner.cli.machine_options import machine_options
from planner.cli.options import (
    axis_options,
    batching_options,
    catalog_option,
    evaluation_option,
    json_option,
    number_option,
    outputs_option,
    plot_option,
    task_option,
)
from planner.cli.output import print_document, print_report, show_progress

DOES_NOT_FIT = 1
"""Exit code when the configuration does not fit."""
_WORKLOAD = "Workload"


@click.command(
    cls=Command,
    examples=(
        "planner estimate llama-2-7b --gpu A100-40GB --finetuning lora",
        "planner estimate llama-3-8b --gpu H100 --gpus 8 --micro-batch-size 4 --json",
    ),
)
@machine_options
@task_option
@number_option("--sequence-length", _WORKLOAD, "Tokens per sequence; 2048 where the model has as many positions.")
@number_option("--micro-batch-size", _WORKLOAD, "Sequences per GPU and pass.", default=1)
@number_option("--gradient-accumulation-steps", _WORKLOAD, "Passes per optimizer step.", default=1)
@number_option("--global-batch-size", _WORKLOAD, "The effective batch, which decides the passes.")
@evaluation_option
@batching_options
@outputs_option
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
        print_document(result.model_dump_json(indent=2))
    else:
        from planner.report.estimate import EstimateReport

        print_report(EstimateReport(result))
        if plot:
            from planner.report.plots.answer import plotted

            print_report(plotted(result, arguments["catalog"]))
    if not result.memory.fits:
        ctx.exit(DOES_NOT_FIT)

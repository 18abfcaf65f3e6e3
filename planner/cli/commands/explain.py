"""Defines `planner explain`."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.command import Command
from planner.cli.machine_options import machine_or_plan_options
from planner.cli.options import (
    axis_options,
    batching_options,
    catalog_option,
    evaluation_option,
    json_option,
    number_option,
    option,
    outputs_option,
    task_option,
)
from planner.cli.output import print_document, print_report, show_progress
from planner.cli.planned import planned

BESIDE_A_PLAN = ("catalog",)
"""Options that a plan file does not decide, so they can be given with one."""
_WORKLOAD = "Workload"


@click.command(
    cls=Command,
    examples=(
        "planner explain llama-2-7b --gpu A100-40GB --finetuning lora",
        "planner explain llama-3-8b --gpu H100 --checkpointing full --saved",
        "planner explain plan.json",
    ),
)
@machine_or_plan_options
@number_option("--plan", _WORKLOAD, "Which plan of a file, by its rank.", default=1)
@option(
    "--model",
    "named",
    metavar="NAME",
    section=_WORKLOAD,
    help="The model of a plan file once more: lets its code run, or its config be downloaded.",
)
@task_option
@number_option("--sequence-length", _WORKLOAD, "Tokens per sequence; 2048 where the model has as many positions.")
@number_option("--micro-batch-size", _WORKLOAD, "Sequences per GPU and pass.", default=1)
@number_option("--gradient-accumulation-steps", _WORKLOAD, "Passes per optimizer step.", default=1)
@evaluation_option
@batching_options
@outputs_option
@axis_options
@catalog_option
@option("--saved", is_flag=True, help="List every tensor that is saved for backward, part by part, instead.")
@json_option
@click.pass_context
def explain(
    ctx: click.Context, /, as_json: bool, saved: bool, model: str, plan: int, named: str | None, **arguments: Any
) -> None:
    """Say what the memory of one configuration is made of, and what each other choice would save or cost.

    MODEL is as for `estimate`, or a plan: a file that `planner fit --json` or `planner estimate --json` wrote, or - for
    standard input. Techniques take one choice each.

    Shown are the peak by category, the largest groups of tensors that are saved for backward, with shape and formula,
    and one step along each axis: what a single other choice saves of the process's memory, and how long a token takes.
    """
    from planner.api.explain import explain as explained

    beside = (*BESIDE_A_PLAN, "saved")
    found = planned(ctx, model, plan, named, {**arguments, "saved": saved}, beside)
    del found["saved"]
    result = explained(**found, progress=show_progress)
    if as_json:
        print_document(result.model_dump_json(indent=2))
    else:
        from planner.report.explain import ExplainReport

        print_report(ExplainReport(result, saved))

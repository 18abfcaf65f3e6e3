"""Defines `planner explain`."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.command import Command
from planner.cli.machine_options import machine_or_plan_options
from planner.cli.options import axis_options, catalog_option, json_option, option
from planner.cli.output import print_record, print_report, show_progress
from planner.cli.planned import planned
from planner.cli.workload_options import configuration_options, loop_options

BESIDE_A_PLAN = ("catalog",)
"""Options that a plan file does not decide, so they can be given with one."""


@click.command(
    cls=Command,
    examples=(
        "planner explain llama-2-7b --gpu A100-40GB --finetuning lora",
        "planner explain llama-3-8b --gpu H100 --checkpointing full --saved",
        "planner explain plan.json",
    ),
)
@machine_or_plan_options
@configuration_options
@loop_options
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
    where the micro-batch stops and why, and one step along each axis: what a single other choice saves of the process's
    memory, and how long a token takes.
    """
    from planner.api.explain import explain as explained

    beside = (*BESIDE_A_PLAN, "saved")
    found = planned(ctx, model, plan, named, {**arguments, "saved": saved}, beside)
    del found["saved"]
    result = explained(**found, progress=show_progress)
    if as_json:
        print_record(result)
    else:
        from planner.report.explain import ExplainReport

        print_report(ExplainReport(result, saved))

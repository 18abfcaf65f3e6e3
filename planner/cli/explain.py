"""Defines `planner explain`."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.commands import Command
from planner.cli.options import (
    axis_options,
    batching_options,
    catalog_option,
    json_option,
    machine_options,
    number_option,
    task_option,
)
from planner.cli.output import print_document, print_report, show_progress

_WORKLOAD = "Workload"


@click.command(
    cls=Command,
    examples=(
        "planner explain llama-2-7b --gpu A100-40GB --finetuning lora",
        "planner explain llama-3-8b --gpu H100 --checkpointing full --json",
    ),
)
@machine_options
@task_option
@number_option("--sequence-length", _WORKLOAD, "Tokens per sequence; 2048 where the model has as many positions.")
@number_option("--micro-batch-size", _WORKLOAD, "Sequences per GPU and pass.", default=1)
@batching_options
@axis_options
@catalog_option
@json_option
def explain(as_json: bool, model: str, **arguments: Any) -> None:
    """List the tensors that one configuration of MODEL saves for backward, part by part.

    MODEL is as for `fit`. Techniques take one choice each.
    """
    from planner.answers.explain import explain as listed

    result = listed(model, **arguments, progress=show_progress)
    if as_json:
        print_document(result.model_dump_json(indent=2))
    else:
        from planner.report.explain import ExplainReport

        print_report(ExplainReport(result))

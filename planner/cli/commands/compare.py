"""Defines the command `planner compare`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT
from planner.cli.machine_options import compare_options
from planner.cli.options import axis_options, catalog_option, json_option, number_option
from planner.cli.output import print_record, print_report, show_progress
from planner.cli.workload_options import lengths_option, task_option

if TYPE_CHECKING:
    from planner.records.result import FitResult

_WORKLOAD = "Workload"


@click.command(
    cls=Command,
    examples=(
        "planner compare llama-3-8b --gpu A100-80GB,H100 --finetuning lora",
        "planner compare gpt2 --gpu T4 --checkpointing none --checkpointing full",
        "planner compare on-a100.json on-h100.json",
    ),
)
@compare_options
@task_option
@lengths_option
@number_option("--micro-batch-size", _WORKLOAD, "Sequences per GPU and pass; may be repeated.", multiple=True)
@number_option("--max-accumulation", _WORKLOAD, "Most accumulation steps, 16 unless given.")
@number_option("--global-batch-size", _WORKLOAD, "The effective batch wanted, instead of the largest.")
@axis_options
@catalog_option
@json_option
@click.pass_context
def compare(ctx: click.Context, /, as_json: bool, plans: tuple[str, ...], **arguments: Any) -> None:
    """Lay plans side by side: of files, or the best ones of one MODEL on several GPUs, lengths or choices.

    PLAN is a file with the JSON of `fit` or `estimate`. With a MODEL, each GPU of --gpu, each --sequence-length and
    each value of an option has a column.

    Exits with 1 when one of them does not fit.
    """
    from planner.api import compare as lay

    result = lay(*(plans if all(map(_is_file, plans)) else _planned(plans, arguments)))
    if as_json:
        print_record(result)
    else:
        from planner.report.comparison import ComparisonReport

        print_report(ComparisonReport(result))
    if not result.fits:
        ctx.exit(DOES_NOT_FIT)


def _is_file(text: str) -> bool:
    from planner.records.plan_file import is_plan

    return text == "-" or (text.endswith(".json") and (is_plan(text) or not Path(text).exists()))


def _planned(models: tuple[str, ...], arguments: dict[str, Any]) -> list[FitResult]:
    """Returns the best plan for each model, GPU, length and value of an option."""
    from hardware import load_catalog
    from hardware.errors import PlannerError
    from planner.api import fit
    from planner.problem.sites import sites_of
    from strategies import OPTIONS

    if arguments["gpu"] is None:
        raise PlannerError("--gpu is missing", f"planner compare {models[0]} --gpu A100-80GB,H100")
    catalog = load_catalog(arguments.pop("catalog"))
    sites = sites_of(arguments.pop("gpu"), catalog, arguments.pop("gpus"), arguments.pop("nodes"))
    lengths = arguments.pop("sequence_length")
    several = {name: arguments.pop(name) for name in OPTIONS if len(arguments[name]) > 1}
    found = []
    for model, (site, nodes), length, *values in product(
        models, sites, lengths if isinstance(lengths, tuple) else (lengths,), *several.values()
    ):
        asked = {**arguments, **{name: (value,) for name, value in zip(several, values, strict=True)}}
        asked |= {"gpu": site.name, "gpus": site.gpus, "nodes": nodes, "sequence_length": length, "catalog": catalog}
        found.append(fit(model, **asked, top=1, progress=show_progress))
    return found

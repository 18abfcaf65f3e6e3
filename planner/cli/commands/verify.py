"""Defines the command `planner verify`."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.arguments import DEVICE, FILE
from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT
from planner.cli.machine_options import machine_or_plan_options
from planner.cli.options import axis_options, catalog_option, json_option, option
from planner.cli.output import print_record, print_report, show_progress
from planner.cli.planned import planned
from planner.cli.workload_options import configuration_options, loop_options

BESIDE_A_PLAN = ("catalog", "device", "timeline", "snapshot")
"""Options that a plan file does not decide, so they can be given with one."""
_WORKLOAD = "Workload"


@click.command(
    cls=Command,
    examples=(
        "planner verify llama-2-7b --gpu A100-40GB --finetuning lora",
        "planner verify llama-2-7b --gpu A100-40GB --timeline step.html",
        "planner verify plan.json",
        "planner verify pythia-70m --gpu T4 --sequence-length 256 --device cpu",
    ),
)
@machine_or_plan_options
@configuration_options
@option(
    "--device",
    type=DEVICE,
    default="replay",
    show_default=True,
    metavar="NAME",
    section=_WORKLOAD,
    help="cuda and cpu also run the step for real and compare: cuda on a GPU here, cpu for small models.",
)
@loop_options
@axis_options
@catalog_option
@json_option
@option(
    "--timeline", type=FILE, metavar="FILE", help="Write the live bytes over a step: .html, .png (a picture) or .csv."
)
@option("--snapshot", type=FILE, metavar="FILE", help="Write a .pickle for pytorch.org/memory_viz.")
@click.pass_context
def verify(ctx: click.Context, /, as_json: bool, model: str, plan: int, named: str | None, **arguments: Any) -> None:
    """Replay the real training step of a plan without a GPU, and compare it with the memory model.

    MODEL is as for `estimate`, or a plan: a file that `planner fit --json` or `planner estimate --json` wrote, or - for
    standard input. The real transformers model, PEFT adapters, FSDP2 and optimizer run on fake tensors, which takes
    seconds and no memory; it needs torch and transformers, those of the extra `verify`.

    A file runs no code: a plan of module:function is replayed only with `--model module:function` beside it, and for a
    plan of hf:org/name nothing is downloaded without `--model hf:org/name`.

    `--device cuda` runs the step on this machine's GPU as well, `--device cpu` on its CPU, which takes the model's real
    memory and time, and shows how far the replay is from it.

    Exits with 1 when the replay does not fit.
    """
    from planner.verification.verify import verify as certify

    arguments = planned(ctx, model, plan, named, arguments, BESIDE_A_PLAN)
    result = certify(**arguments, progress=show_progress)
    if as_json:
        print_record(result)
    else:
        from planner.report.verify import VerifyReport

        print_report(VerifyReport(result))
    if not result.fits:
        ctx.exit(DOES_NOT_FIT)

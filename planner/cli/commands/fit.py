"""Defines the command `planner fit`."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from planner.cli.arguments import AxisChoice
from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT
from planner.cli.machine_options import machines_options
from planner.cli.options import AxisOption, json_option, number_option, option, plot_option
from planner.cli.output import print_record, print_report, print_text, show_progress
from planner.cli.several import asks_for_several, fit_machines
from planner.cli.workload_options import length_option, search_options, task_option
from strategies import Engine, Sampler

_SEARCH = "Search"


@click.command(
    cls=Command,
    examples=(
        "planner fit llama-2-7b --gpu A100-40GB",
        "planner fit qwen2.5-1.5b --gpu T4 --gpus 4 --finetuning lora --lora-rank 8",
        "planner fit config.json --gpu H100 --gpus 8 --global-batch-size 512 --json",
        "planner fit llama-3-8b --gpu any --gpus 1,2,4,8 --finetuning lora",
    ),
)
@machines_options
@task_option
@length_option
@search_options
@number_option("--top", "Options", "Number of plans; where it is given, all of them are shown.", default=10)
@option("--pareto", is_flag=True, section="Options", help="The front of effective batch, speed and memory as well.")
@option("--advice", is_flag=True, section="Options", help="Say in --json, too, which one change would help much.")
@option("--notes", is_flag=True, section="Options", help="Show all plans, notes, and reasons of rejections.")
@option("--engine", cls=AxisOption, type=AxisChoice(Engine), metavar="NAME", section=_SEARCH, default="exhaustive")
@option("--sampler", cls=AxisOption, type=AxisChoice(Sampler), metavar="NAME", section=_SEARCH)
@number_option("--trials", _SEARCH, "Most trials of optuna, 200 unless given.")
@option("--timeout", type=float, metavar="SECONDS", section=_SEARCH, help="No trial begins after that.")
@number_option("--seed", _SEARCH, "Of the sampler, 0 unless given.")
@option("--storage", metavar="URL", section=_SEARCH, help="A database that keeps the trials: sqlite:///study.db.")
@option(
    "--why-not",
    multiple=True,
    metavar="KEY=VALUE",
    section="Options",
    help="Say why no plan with that value, such as checkpointing=none, comes first; may be repeated.",
)
@option("--verify", is_flag=True, section="Options", help="Replay the best plan; take the next where it does not fit.")
@plot_option
@json_option
@click.pass_context
def fit(ctx: click.Context, /, as_json: bool, plot: bool, model: str, notes: bool, **arguments: Any) -> None:
    """Find the configurations of MODEL that fit, and the one to run, which stands last.

    MODEL is a name that `planner models` lists, a config.json, hf:org/name, a size such as 7B, or module:function,
    whose code is imported and run: the function returns a torch module, and example_inputs(micro_batch_size,
    sequence_length) beside it the arguments of its forward. What the registry does not know is replayed, once.

    Several GPUs, machines or counts give a ranking of machines, each with its best plan.

    Techniques restrict the search and may be repeated; those not given are searched over their usual choices.

    Exits with 1 when nothing fits, and says what would.
    """
    if asks_for_several(arguments):
        if not fit_machines(ctx, model, {**arguments, "plot": plot}, as_json=as_json).machines:
            ctx.exit(DOES_NOT_FIT)
        return
    from planner.api import fit as find

    is_brief = not (as_json or arguments["pareto"] or arguments["why_not"])
    arguments["advice"] = arguments["advice"] or is_brief
    result = find(model, **arguments, progress=show_progress)
    if as_json:
        print_record(result)
    else:
        from planner.report.fit.answer import FitReport

        listed = ctx.get_parameter_source("top") is ParameterSource.COMMANDLINE
        if plot:
            from planner.report.plots.answer import plotted

            print_report(plotted(result, arguments["catalog"]))
            print_text("")
        print_report(FitReport(result, ctx.obj or (), notes or listed))
        if result.why_not:
            from planner.report.fit.why_not import WhyNotReport

            print_report(WhyNotReport(result.why_not))
    if not result.plans:
        ctx.exit(DOES_NOT_FIT)

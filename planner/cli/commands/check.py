"""Defines the command `planner check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardware.errors import PlannerError
from planner.cli.arguments import FILE, GPU_NAME, SHARE, WHOLE_NUMBER
from planner.cli.command import Command
from planner.cli.exits import DOES_NOT_FIT, USAGE
from planner.cli.options import catalog_option, json_option, number_option, option
from planner.cli.output import print_record, print_report, print_text, show_progress

if TYPE_CHECKING:
    from planner.records.check import CheckResult

_MACHINE, _CHANGES = "Machine", "Changes"


@click.command(
    cls=Command,
    examples=(
        "planner check axolotl.yaml --gpu A100-40GB",
        "planner check sft.yaml zero3.yaml --gpu H100 -- max_length=4096",
        "planner check qwen3_full_sft.yaml ds_z3_config.json",
        "planner check ds_z3.json --gpu T4 -- --model_name_or_path llama-3-8b",
        "planner check train.sh --gpu H100",
        "planner check axolotl.yaml --gpu RTX-4090 --fix fitting.yaml",
        "planner check --each configs/*.yaml --gpu A100-40GB",
        "planner check - --gpu RTX-4090 --json < axolotl.yaml",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE... [-- KEY=VALUE...]")
@option(
    "--gpu", type=GPU_NAME, metavar="NAME", section=_MACHINE, help="See `planner gpus`; none asks for the smallest."
)
@number_option("--gpus", _MACHINE, "GPUs per node; what the files say unless given.")
@number_option("--nodes", _MACHINE, "Nodes; what the files say unless given.")
@option(
    "--headroom",
    type=SHARE,
    metavar="SHARE",
    section=_MACHINE,
    help="Share of the GPU's memory to leave free; none unless given.",
)
@catalog_option
@option(
    "--fix",
    "fixed",
    type=FILE,
    metavar="PATH",
    section=_CHANGES,
    help="Write a change as a new file, or into a folder.",
)
@option(
    "--change",
    type=WHOLE_NUMBER,
    metavar="N",
    default=1,
    show_default=True,
    section=_CHANGES,
    help="Which change, by its rank.",
)
@option("--force", is_flag=True, section=_CHANGES, help="Overwrite files.")
@option("--launch", type=WHOLE_NUMBER, metavar="N", help="Which run of a script that launches several, from 1.")
@option("--notes", is_flag=True, help="Show the whole account, every setting with its place, all diffs and notes.")
@option("--each", is_flag=True, help="Take each FILE for a run of its own, and print a line for it.")
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    fixed: Path | None,
    change: int,
    force: bool,
    each: bool,
    notes: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Read the files of a training run, and say what memory it takes and whether it fits.

    FILE is a YAML of axolotl, LLaMA-Factory or TRL, with the launcher's file of accelerate and the JSON of DeepSpeed
    where the run has them, or the shell script that launches it. KEY=VALUE or --key value replaces a key of these
    files, as the framework's command line does; with the model's name among them there need be no recipe. Nothing that
    a file names is executed or downloaded. FILE may be - for standard input.

    With --gpu, the smallest changes of these files are shown as diffs: those that make the run fit, or where it fits,
    its batch larger or its step faster. --fix writes one of them as a new file.

    Exits with 1 when the run does not fit on the GPU, and with 2 when it is refused: it does something that the planner
    has no word for. What was read is printed all the same, with --notes.
    """
    from planner.checking.check import check as read
    from planner.checking.fix import fix

    given, overrides = _split(files)
    if not given:
        raise PlannerError(f"{overrides[0]!r} is no file here, and is taken for KEY=VALUE", "planner check run.yaml")
    if each:
        others = {"--json": as_json, "--notes": notes, "--fix": fixed is not None}
        if given_with := next((name for name, is_given in others.items() if is_given), None):
            raise PlannerError(f"--each prints lines, not {given_with}", "one run at a time")
        ctx.exit(_each(given, overrides, arguments))
    result = read(given, overrides=overrides, **arguments)
    if fixed is not None:
        if arguments["gpu"] is None:
            raise PlannerError("--fix needs a GPU for which the files are changed", "--gpu NAME")
        for path in fix(result, fixed, rank=change, force=force):
            show_progress(f"written: {path}")
        if also := result.changes[change - 1].arguments:
            show_progress(f"arguments that the change needs, too: {also}")
    if as_json:
        print_record(result)
    else:
        from planner.report.check.answer import CheckReport

        print_report(CheckReport(result, notes))
    ctx.exit(_code(result, arguments))


def _split(words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Returns the files, and `KEY=VALUE` of the others: all from the first flag on, and before it what is no file."""
    from planner.readers.documents.overrides import overrides_of

    first = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    pairs = [word for word in words[:first] if "=" in word and not Path(word).exists()]
    return [word for word in words[:first] if word not in pairs], pairs + overrides_of(words[first:])


def _each(files: list[str], overrides: list[str], arguments: dict[str, Any]) -> int:
    """Prints a line for each file, and returns the exit code of the worst; files that are no runs are passed over."""
    from planner.checking.check import check as read
    from planner.readers.recognized import UnknownFileError

    worst = 0
    for file in files:
        try:
            result = read(file, overrides=overrides, **arguments)
        except UnknownFileError as error:
            print_text(f"passed over: {error.message}")
            continue
        except PlannerError as error:
            print_text(f"broken: {error.message}")
            worst = USAGE
            continue
        if result.reading and "model" not in result.reading:
            print_text(f"passed over: {file} names no model")
            continue
        print_text(result.headline())
        worst = max(worst, _code(result, arguments))
    return worst


def _code(result: CheckResult, arguments: dict[str, Any]) -> int:
    """Returns the exit code of an answer; without a GPU there is nothing that it would have to fit."""
    if result.plan is None:
        return USAGE
    return DOES_NOT_FIT if arguments["gpu"] is not None and not result.fits else 0

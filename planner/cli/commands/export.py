"""Defines the command `planner export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from planner.cli.arguments import FILE, WHOLE_NUMBER, Completed
from planner.cli.command import Command, Option
from planner.cli.options import catalog_option, option
from planner.cli.output import print_text, show_progress


class FrameworkName(Completed):
    """Names a framework whose files are written."""

    name = "name"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the frameworks with what they write."""
        from planner.exporting.targets.registry import TARGETS

        return [(target.name, target.summary) for target in TARGETS.values()]


class TargetName(FrameworkName):
    """Names a target of an export: a framework, or what starts its script."""

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the targets with what they write."""
        from planner.exporting.launchers.registry import LAUNCHERS

        return [*super().names(ctx), *((launcher.name, launcher.summary) for launcher in LAUNCHERS.values())]


class TargetOption(Option):
    """Extends an option: its help lists the targets, which are imported only when the help is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Returns the option and its targets."""
        assert isinstance(self.type, TargetName)
        self.help = f"{', '.join(name for name, _ in self.type.names(ctx))}."
        return super().get_help_record(ctx)


@click.command(
    cls=Command,
    examples=(
        "planner export plan.json --to llama-factory -o run",
        "planner export - --to transformers --random-weights -o run --plan 2",
        "planner export plan.json --to slurm --with pytorch -o run",
    ),
)
@click.argument("plan", type=str)
@option(
    "--to",
    type=TargetName(),
    required=True,
    metavar="TARGET",
    cls=TargetOption,
)
@option(
    "--with",
    "framework",
    type=FrameworkName(),
    metavar="FRAMEWORK",
    help="Whose script a launcher, such as bash or slurm, starts; transformers unless given.",
)
@option("-o", "--output", type=FILE, metavar="DIR", default="run", show_default=True, help="Folder of the files.")
@option(
    "--plan",
    "rank",
    type=WHOLE_NUMBER,
    metavar="N",
    help="Which plan of an answer of fit, by its number; the one to run unless given.",
)
@option("--dataset", metavar="NAME", help="Your data; an example of the target's unless given, if it has one.")
@option("--random-weights", is_flag=True, help="Weights and data are made by the script: it needs no network.")
@option("--force", is_flag=True, help="Overwrite files.")
@catalog_option
def export(plan: str, to: str, output: Path, force: bool, **options: Any) -> None:
    """Write PLAN as the files with which a training framework runs it.

    PLAN is a file that `planner fit --json` or `planner estimate --json` wrote, or - for standard input. Every choice
    that memory depends on is set. The files are read back as `planner check` reads them and have to make the same plan:
    what the target cannot say is an error that names it. Printed are their paths, below the folder `run` unless -o says
    another one.
    """
    from planner.exporting.export import export as made
    from planner.exporting.export import write

    paths = write(made(plan, to, **options), output, force=force)
    for path in paths:
        print_text(str(path))
    show_progress(f"written to {output.resolve()}")

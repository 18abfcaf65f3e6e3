"""The `planner` command: its commands, and how a run ends."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from planner.cli.commands import LazyGroup, Option
from planner.cli.output import drop_output, guard_streams, print_text
from planner.entry import INTERRUPTED, was_interrupted

BROKEN_PIPE = 128 + 13
"""As shells report a process that SIGPIPE ended; 1 already says that nothing fits."""


class Planner(LazyGroup):
    """Ends every run with an exit code and without a traceback."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any
    ) -> NoReturn:
        guard_streams()
        if "_PLANNER_COMPLETE" in os.environ:  # shell completion, which click does before it reads the arguments
            try:
                super().main(args, "planner", *rest, **extra)
            except (KeyError, ValueError, OSError):  # the variables that a shell sets are not there
                from planner.cli.errors import USAGE

                sys.exit(USAGE)
        start_lightly()
        code = self._run(list(sys.argv[1:] if args is None else args))
        gc.freeze()  # an end of the process that looks for cycles in all that it made takes a sixth of its time
        sys.exit(code)

    def _run(self, args: list[str]) -> int:
        try:
            code = self._answer(args)
            sys.stdout.flush()
            return code
        except BaseException as error:
            drop_output()
            return self._failed(error)

    def _answer(self, args: list[str]) -> int:
        try:
            if os.environ.get("PLANNER_PLUGINS"):  # before options are read, to which plug-ins add
                from planner.plugins import load_plugins

                load_plugins()
            with self.make_context("planner", args) as ctx:
                self.invoke(ctx)
        except click.exceptions.Exit as end:
            return end.exit_code
        return 0

    def _failed(self, error: BaseException) -> int:
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        if isinstance(error, KeyboardInterrupt) or was_interrupted():
            return INTERRUPTED
        from planner.cli.errors import report

        return report(error)


def start_lightly() -> None:
    """Most commands live for less than a second: they do without pydantic's plugins, whose search reads the metadata of
    every installed package, and almost without looking for reference cycles, of which they make few."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(100_000)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print_text(f"planner {version('training-planner')}")
        except PackageNotFoundError:
            print_text("planner, not installed")
        ctx.exit()


main = Planner(
    "planner",
    package="planner.cli",
    summaries={
        "fit": "Find the configurations that fit, largest effective batch first.",
        "estimate": "Itemise the memory of one configuration.",
        "verify": "Replay the real training step of a plan, without a GPU.",
        "gpus": "List the GPUs of the catalog, or show one.",
        "models": "List the models of the registry, or show one.",
        "space": "Show what is searched.",
        "catalog": "Check a GPU catalog of your own.",
        "schema": "Print the JSON Schema of an answer.",
    },
    help="Plan the training of a transformer: what fits on a GPU, and what fills it.",
    examples=(
        "planner fit llama-2-7b --gpu A100-40GB",
        "planner estimate llama-2-7b --gpu A100-40GB --finetuning lora",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        )
    ],
)

"""Defines the `planner` command: its commands, and how a run ends."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from planner.cli.command import LazyGroup, Option
from planner.cli.output import clear_progress, drop_output, guard_streams, print_text
from planner.entry import INTERRUPTED, was_interrupted

BROKEN_PIPE = 128 + 13
"""Exit code that shells report for a process that SIGPIPE ended; 1 already says that nothing fits."""


class Planner(LazyGroup):
    """Ends every run with an exit code and without a traceback."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any
    ) -> NoReturn:
        """Runs the command with the given arguments, those of the process by default, and exits."""
        guard_streams()
        if "_PLANNER_COMPLETE" in os.environ:  # shell completion, which click handles before it reads the arguments
            try:
                super().main(args, "planner", *rest, **extra)
            except (KeyError, ValueError, OSError):  # the shell has not set its variables
                from planner.cli.exits import USAGE

                sys.exit(USAGE)
        code = self._run(list(sys.argv[1:] if args is None else args))
        gc.freeze()  # a search for cycles in all objects at exit would take a sixth of the run's time
        sys.exit(code)

    def _run(self, args: list[str]) -> int:
        try:
            code = self._answer(args)
            sys.stdout.flush()
            return code
        except BaseException as error:
            clear_progress()
            drop_output()
            return self._failed(error)

    def _answer(self, args: list[str]) -> int:
        try:
            if os.environ.get("PLANNER_PLUGINS"):  # before options are read, since plug-ins add choices
                from planner.plugins import load_plugins

                load_plugins()
            with self.make_context("planner", args, obj=tuple(args)) as ctx:
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
    package="planner.cli.commands",
    summaries={
        "fit": "Find the configurations that fit, largest effective batch first.",
        "estimate": "Itemise the memory of one configuration.",
        "explain": "Say what fills one configuration, and what other choices would save.",
        "compare": "Lay plans, GPUs or choices side by side.",
        "sweep": "Plan many models on many machines: a table, CSV or Parquet.",
        "verify": "Replay the real training step of a plan, without a GPU.",
        "check": "Read the configuration files of a run, and say whether it fits.",
        "export": "Write a plan as the files of a training framework.",
        "measured": "Compare what exported scripts measured with their plans.",
        "report": "Draw plans as one page of HTML.",
        "gpus": "List the GPUs of the catalog, or show one.",
        "machines": "List the machines that clouds rent, with their prices, or show one.",
        "models": "List the models of the registry, or show one.",
        "choices": "Say what each choice means.",
        "space": "Show what is searched.",
        "catalog": "Check a GPU catalog of your own.",
        "schema": "Print the JSON Schema of an answer or of a catalog.",
        "completion": "Print or install what lets a shell complete commands.",
    },
    elsewhere={
        **dict.fromkeys(("train", "plan", "run", "tune", "finetune", "sft", "search", "optimize", "recommend"), "fit"),
        **dict.fromkeys(("vram", "memory", "mem", "calc", "calculate", "estimate-memory"), "estimate"),
        **{"replay": "verify", "diff": "compare", "convert": "export", "gpu-list": "gpus", "list": "gpus"},
        **{"help": "--help", "version": "--version", "planner": "--help"},
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

"""Prints errors as users see them: `error:` with what is wrong and the value, `hint:` with the way out.

The module is imported only when there is an error.
"""

from __future__ import annotations

import os
import shlex
import traceback
from collections.abc import Sequence
from itertools import zip_longest

import click

from hardware.errors import PlannerError
from planner.cli.command import Command
from planner.cli.exits import INTERNAL, USAGE
from planner.cli.hints.misplaced import together, with_gpu
from planner.cli.hints.rewording import arguments_of, asks_about_training, meant_option, options_of, refusal, reworded
from planner.plugins import said
from planner.printable import printable
from planner.records.asked.arguments import argument_of, near_arguments
from planner.records.asked.unplanned import answer_about, instead_of

DEBUG_VARIABLE = "PLANNER_DEBUG"
"""Environment variable that has tracebacks printed."""
_TO_DO = f"{DEBUG_VARIABLE}=1 shows where, please report it"
_MEANINGS: dict[type[BaseException], str] = {MemoryError: "out of memory"}
"""Texts for errors that have none themselves."""


def report(error: BaseException) -> int:
    """Prints an error to stderr and returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    if isinstance(error, PlannerError):
        _print(error.message, error.hint)
        return USAGE
    if isinstance(error, click.ClickException):
        _print(*_explained(error))
        return USAGE
    if os.environ.get(DEBUG_VARIABLE):
        _echo("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, OSError):
        what = error.strerror or said(error) or type(error).__name__
        _print(
            f"{what}{f': {error.filename}' if error.filename else ''}",
            f"where this machine is not to blame, this is a bug; {_TO_DO}",
        )
    else:
        _print(f"internal error: {_named(error)}", f"this is a bug; {_TO_DO}")
    return INTERNAL


def _named(error: BaseException) -> str:
    first_line = _MEANINGS.get(type(error)) or said(error).partition("\n")[0]
    return f"{type(error).__name__}{': ' if first_line else ''}{first_line}"


def _print(message: str, hint: str | None) -> None:
    _echo(f"error: {message}")
    if hint is not None:
        _echo(f"hint: {hint}")


def _echo(text: str) -> None:
    click.echo(printable(text), err=True)


def _explained(error: click.ClickException) -> tuple[str, str | None]:
    """Returns message and hint of an error of click's."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return _lower(error.format_message()), "--help explains the options"
    command, more = ctx.command, f"{ctx.command_path} --help explains"
    args = tuple(ctx.find_root().obj or ())
    if isinstance(error, click.NoSuchOption):
        return f"unknown option {error.option_name}", _way_out(error.option_name, ctx) or more
    if isinstance(error, click.MissingParameter) and isinstance(command, Command) and error.param is not None:
        name = error.param.opts[0]
        missing = name if name.startswith("-") else name.upper()
        line = with_gpu(args, ctx) if name == "--gpu" else None
        return f"{missing} is missing", line or f"for example: {command.examples[0]}"
    return _lower(error.format_message()), together(args, ctx) or with_gpu(args, ctx) or more


def _way_out(name: str, ctx: click.Context) -> str | None:
    """Returns what an option that there is not means, and the whole command with it; None where nothing is near."""
    args = tuple(ctx.find_root().obj or ())
    value, line = _behind(name, args), reworded(args, ctx)
    whole = "" if line is None else f"  ({line})"
    argument = argument_of(name, arguments_of(ctx))
    if argument is not None and isinstance(ctx.command, Command):
        return f"{argument.upper()} stands without a name: {line or ctx.command.examples[0]}"
    meant = meant_option(name, value, ctx)
    answer = answer_about(name, value) if asks_about_training(ctx) else None
    if answer is not None and (meant is None or instead_of(name, value) is not None):
        return answer + whole
    if meant is not None:
        return f"did you mean {shlex.join(meant.words)}?{whole}" if meant.words else f"leave {name} out{whole}"
    if isinstance(ctx.command, Command) and (example := ctx.command.with_keys) is not None:
        return f"a key of the files stands behind --, as their program calls it: {example}"
    options = options_of(ctx)
    near = near_arguments(name, options)
    if len(near) == 1 and (other := refusal(name, value, options[near[0]], ctx)) is not None:
        return other
    return f"did you mean {', '.join(near)}?" if near else None


def _behind(name: str, args: Sequence[str]) -> str | None:
    """Returns the word behind an option, or behind its `=`; None if there is none, or it is an option itself."""
    for word, following in zip_longest(args, args[1:]):
        option, equals, joined = word.partition("=")
        if option == name:
            return joined if equals else (None if following is None or following.startswith("--") else following)
    return None


def _lower(message: str) -> str:
    """Returns click's sentence without its capital and its full stop."""
    return (message[:1].lower() + message[1:]).removesuffix(".")

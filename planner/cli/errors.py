"""Prints errors as users see them: `error:` with what is wrong and the value, `hint:` with the way out.

The module is imported only when there is an error.
"""

from __future__ import annotations

import os
import traceback

import click

from hardware.errors import PlannerError
from planner.cli.command import Command
from planner.cli.exits import INTERNAL, USAGE
from planner.plugins import said
from planner.printable import printable
from planner.records.asked.arguments import argument_of, near_arguments, switched_on
from planner.records.asked.axes import parse_option
from planner.records.asked.unplanned import answer_about
from strategies import OPTIONS

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
    if isinstance(error, click.NoSuchOption):
        unknown, parameters = f"unknown option {error.option_name}", command.get_params(ctx)
        alone = argument_of(error.option_name, [p.opts[0] for p in parameters if isinstance(p, click.Argument)])
        if alone is not None and isinstance(command, Command):
            return unknown, f"{alone.upper()} stands without a name: {command.examples[0]}"
        answer = answer_about(error.option_name)
        if answer is not None and any(p.name == "sequence_length" for p in parameters):  # it asks about training
            return unknown, answer
        near = near_arguments(error.option_name, [o for p in parameters for o in p.opts if o.startswith("--")])
        if len(near) == 1:
            near = (near[0] + _as_choice(near[0], error.option_name),)
        return unknown, f"did you mean {', '.join(near)}?" if near else more
    if isinstance(error, click.MissingParameter) and isinstance(command, Command) and error.param is not None:
        name = error.param.opts[0]
        missing = name if name.startswith("-") else name.upper()
        return f"{missing} is missing", f"for example: {command.examples[0]}"
    return _lower(error.format_message()), more


def _as_choice(option: str, name: str) -> str:
    """Returns the name of an unknown option as a value of the option that is meant, if it is one: `--qlora`."""
    axis, choice = OPTIONS.get(option.removeprefix("--").replace("-", "_")), name.removeprefix("--")
    if (meant := switched_on(name)) is not None:
        return f" {meant}"
    if axis is None:
        return ""
    try:
        parse_option(axis, choice)
    except PlannerError:
        return ""
    return f" {choice}"


def _lower(message: str) -> str:
    """Returns click's sentence without its capital and its full stop."""
    return (message[:1].lower() + message[1:]).removesuffix(".")

"""Errors as users see them: `error:` what and the value, `hint:` the way out. Imported only when there is one."""

from __future__ import annotations

import os
import traceback

import click

from hardware.errors import PlannerError, nearest_names
from planner.cli.commands import Command

USAGE = 2
INTERNAL = 70
"""EX_SOFTWARE of sysexits.h."""
DEBUG_VARIABLE = "PLANNER_DEBUG"


def report(error: Exception) -> int:
    """Print an error to stderr; returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    if isinstance(error, PlannerError):
        _print(error.message, error.hint)
        return USAGE
    if isinstance(error, click.ClickException):
        _print(*_explained(error))
        return USAGE
    if isinstance(error, OSError):
        _print(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", None)
        return INTERNAL
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    first_line = str(error).partition("\n")[0]
    _print(
        f"internal error: {type(error).__name__}{': ' if first_line else ''}{first_line}",
        f"this is a bug; {DEBUG_VARIABLE}=1 shows where, please report it",
    )
    return INTERNAL


def _print(message: str, hint: str | None) -> None:
    click.echo(f"error: {_printable(message)}", err=True)
    if hint is not None:
        click.echo(f"hint: {_printable(hint)}", err=True)


def _printable(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _explained(error: click.ClickException) -> tuple[str, str | None]:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return _lower(error.format_message()), "--help explains the options"
    command, more = ctx.command, f"{ctx.command_path} --help explains"
    if isinstance(error, click.NoSuchOption):
        known = [
            option for parameter in command.get_params(ctx) for option in parameter.opts if option.startswith("--")
        ]
        near = nearest_names(error.option_name, known)
        return f"unknown option {error.option_name}", f"did you mean {', '.join(near)}?" if near else more
    if isinstance(error, click.MissingParameter) and isinstance(command, Command) and error.param is not None:
        name = error.param.opts[0]
        missing = name if name.startswith("-") else name.upper()
        return f"{missing} is missing", f"for example: {command.examples[0]}"
    return _lower(error.format_message()), more


def _lower(message: str) -> str:
    """click's sentences as the rest of a line."""
    return (message[:1].lower() + message[1:]).removesuffix(".")

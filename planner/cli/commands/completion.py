"""Defines the command `planner completion`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import click

from planner.cli.command import Command
from planner.cli.options import option
from planner.cli.output import print_text


class _Place(NamedTuple):
    """Says where a shell looks for a user's completions: a variable or its default, a path, and what is left to do."""

    variable: str
    default: str
    path: str
    then: str


_PLACES = {
    "bash": _Place("XDG_DATA_HOME", "~/.local/share", "bash-completion/completions/planner", "open a new shell"),
    "zsh": _Place(
        "ZDOTDIR", "~", ".zfunc/_planner", "put `fpath+=~/.zfunc; autoload -Uz compinit; compinit` into ~/.zshrc"
    ),
    "fish": _Place("XDG_CONFIG_HOME", "~/.config", "fish/completions/planner.fish", "open a new shell"),
}
"""Shells with their places: bash-completion's README, the user guide of zsh on fpath, fish's on completions."""


@click.command(cls=Command, examples=("planner completion bash --install", "planner completion zsh"))
@click.argument("shell", metavar="bash|zsh|fish")
@option("--install", is_flag=True, help="Write it to where the shell looks for completions of a user.")
@click.pass_context
def completion(ctx: click.Context, /, shell: str, install: bool) -> None:
    """Print the script with which a shell completes commands, options, choices, GPUs and models; or install it."""
    from click.shell_completion import get_completion_class

    from hardware.errors import PlannerError

    kind = get_completion_class(shell)
    if kind is None or shell not in _PLACES:
        raise PlannerError(f"unknown shell {shell!r}", f"one of {', '.join(_PLACES)}")
    made = kind(ctx.find_root().command, {}, "planner", "_PLANNER_COMPLETE")
    script = made.source_template % made.source_vars()
    if not install:
        print_text(script)
        return
    from planner.files import check_writable, write_whole

    place = _PLACES[shell]
    path = Path(os.environ.get(place.variable) or place.default).expanduser() / place.path
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    write_whole(path, script.encode())
    print_text(f"wrote {path}; {place.then}")

"""Where results go: stdout, as a rendering or as one JSON document."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType


def show_progress(text: str) -> None:
    """On stderr, for who waits at a terminal."""
    if sys.stderr.isatty():
        click.echo(f"planner: {text}", err=True)


def print_document(text: str) -> None:
    """Never coloured and never cut."""
    click.echo(text, color=False)


def print_report(report: RenderableType) -> None:
    """Coloured on a terminal; as wide as the terminal, 80 columns where there is none."""
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            """rich would exit with 1, which says that nothing fits."""
            raise BrokenPipeError

    _Console(highlight=False, markup=False, emoji=False).print(report, crop=False)

"""Where results go: stdout, as a rendering or as one JSON document. What they quote never commands the terminal."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

import click

from planner.printable import is_plain, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

NO_TERMINAL = 80
NARROWEST, WIDEST = 40, 1000
"""Below that, long texts stand in columns of single letters; above it, a width is a mistake."""


def show_progress(text: str) -> None:
    """On stderr, for who waits at a terminal."""
    if sys.stderr.isatty():
        click.echo(f"planner: {printable(text)}", err=True)


def print_text(text: str) -> None:
    """Lines without colour."""
    click.echo(printable(text), color=False)


def print_document(text: str) -> None:
    """A JSON document, never coloured and never cut. What no terminal should get is escaped, as JSON escapes it."""
    if not is_plain(text):
        text = "".join(c if is_plain(c) else _json_escape(c) for c in text)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = "".join(c if c.isascii() else _json_escape(c) for c in text)
    click.echo(text, color=False)


def print_report(report: RenderableType) -> None:
    """Coloured on a terminal; as wide as the terminal, 80 columns where there is none."""
    from rich.console import Console
    from rich.segment import Segment

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            """rich would exit with 1, which says that nothing fits."""
            raise BrokenPipeError

    class _Printable:
        """The report as it is drawn, its own colours apart from the texts that it quotes."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for segment in console.render(report, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    # rich trusts COLUMNS and LINES, and draws nothing where there are 0 columns.
    console = _Console(width=_columns(), height=25, highlight=False, markup=False, emoji=False)
    console.print(_Printable(), crop=False)


def _json_escape(character: str) -> str:
    import json

    return json.dumps(character)[1:-1]


def _columns() -> int:
    """How wide a report is: as COLUMNS says, else as the terminal says, within what can be read."""
    try:
        width = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        width = 0
    if width <= 0:
        width = _terminal_columns() or NO_TERMINAL
    return min(max(width, NARROWEST), WIDEST)


def _terminal_columns() -> int:
    """0 where there is no terminal, or one that does not know."""
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        try:
            if stream and (width := os.get_terminal_size(stream.fileno()).columns):
                return width
        except (ValueError, OSError):
            continue
    return 0


def guard_streams() -> None:
    """Makes the standard streams of this process be there, and their errors known."""
    for name, kind in (("stdin", None), ("stdout", _Stdout), ("stderr", _Stream)):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started the process: the next file opened would get its place
            setattr(sys, name, open(os.devnull, "w" if kind else "r"))  # noqa: SIM115 - open until the end
        elif kind and os.name == "posix" and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _guarded(stream, kind))


def drop_output() -> None:
    """What is still in the buffer is not written: the end of the process would try, and wait or fail."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Stream):
        raw.lost = True


class _Stream(io.FileIO):
    """A standard stream that once it cannot be written drops what follows: nobody is there to be told."""

    lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        while not self.lost:
            try:
                if (written := super().write(data)) is not None:
                    return written
                _wait_for_room(self)
            except OSError as error:
                self.lost = True
                self.refuse(error)
        return memoryview(data).nbytes

    def refuse(self, error: OSError) -> None:
        """Says that the stream cannot be written."""


class _Stdout(_Stream):
    def refuse(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):  # a reader that has seen enough
            raise error
        from hardware.errors import PlannerError
        from planner.files import way_out

        hint = way_out(error, "send it to a file of yours, or to a pipe")
        raise PlannerError(f"standard output cannot be written: {error.strerror}", hint) from None


def _guarded(stream: TextIO, kind: type[_Stream]) -> io.TextIOWrapper:
    """The same stream. What its encoding does not have is spelled out."""
    stream.flush()
    raw = kind(stream.fileno(), "w", closefd=False)
    lines = bool(stream.line_buffering)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=lines)


def _wait_for_room(stream: io.FileIO) -> None:
    """A pipe that another process has made non-blocking takes nothing while it is full."""
    import select

    select.select([], [stream], [])

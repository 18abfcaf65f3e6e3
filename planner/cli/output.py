"""Writes results to stdout, as a rendering or as one JSON document.

No text that a result quotes can command the terminal.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from planner.printable import is_plain, printable
from planner.progress import Advance

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from pydantic import BaseModel
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

NO_TERMINAL = 80
"""Columns of a report where there is no terminal."""
NARROWEST, WIDEST = 40, 1000
"""Fewest and most columns of a report. Below, long texts would stand in columns of single letters; above, the width
must be a mistake."""


_CLEARED = "\r\x1b[K"
"""Moves a terminal's cursor to the begin of its line, and clears the line (ECMA-48, EL)."""
_BAR = 20
"""Columns of a bar of progress."""


def show_progress(text: str) -> None:
    """Prints a line on stderr for a user who waits at a terminal; of work whose length is known, a bar in one line."""
    if not sys.stderr.isatty():
        return
    said = f"{_CLEARED}planner: {printable(text)}"
    if not isinstance(text, Advance):
        click.echo(said, err=True)
    elif text.total == 0:
        clear_progress()
    else:
        filled = _BAR * text.done // text.total
        line = f"{_CLEARED}planner: {'#' * filled}{'.' * (_BAR - filled)} {printable(text)}"
        click.echo(line[: _columns() + len(_CLEARED) - 1], err=True, nl=False)


def clear_progress() -> None:
    """Clears a line of progress, so that what follows does not stand behind it."""
    if sys.stderr.isatty():
        click.echo(_CLEARED, err=True, nl=False)


def print_text(text: str) -> None:
    """Prints lines without color."""
    click.echo(printable(text), color=False)


def print_record(record: BaseModel) -> None:
    """Prints a result as a JSON document.

    What `model_dump_json` would write is written without the serializers of some forty classes, whose building takes
    longer than the result: records hold nothing but records, sequences, mappings, and values that JSON knows.
    """
    from pydantic import BaseModel
    from pydantic_core import to_json

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return {name: plain(field) for name, field in value}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value

    print_document(to_json(plain(record), indent=2).decode())


def print_document(text: str) -> None:
    """Prints a JSON document, never colored and never cut.

    Characters that no terminal should get are escaped as JSON escapes them.
    """
    if not is_plain(text):
        text = "".join(c if is_plain(c) else _json_escape(c) for c in text)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = "".join(c if c.isascii() else _json_escape(c) for c in text)
    click.echo(text, color=False)


def print_note(text: str | None) -> None:
    """Prints a dim line below a report, or nothing for None."""
    if text is not None:
        from planner.report.parts.blocks import Wrapped

        print_report(Wrapped(text, "dim"))


def print_report(report: RenderableType) -> None:
    """Prints a report in colors where stdout is a terminal.

    It is as wide as the terminal, and 80 columns wide where there is none.
    """
    from rich.console import Console
    from rich.segment import Segment

    class _Console(Console):
        """Extends rich's console: a broken pipe is an error."""

        def on_broken_pipe(self) -> None:
            """Raises an error; rich would exit with 1, which says that nothing fits."""
            raise BrokenPipeError

    class _Printable:
        """Draws the report with its own colors, and spells out control characters in texts that it quotes."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for segment in console.render(report, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    # rich trusts COLUMNS and LINES, and draws nothing where COLUMNS is 0.
    console = _Console(width=_columns(), height=25, highlight=False, markup=False, emoji=False)
    console.print(_Printable(), crop=False)


def _json_escape(character: str) -> str:
    import json

    return json.dumps(character)[1:-1]


def _columns() -> int:
    """Returns the columns of a report, within the range that can be read.

    COLUMNS decides, otherwise the terminal.
    """
    try:
        width = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        width = 0
    if width <= 0:
        width = _terminal_columns() or NO_TERMINAL
    return min(max(width, NARROWEST), WIDEST)


def _terminal_columns() -> int:
    """Returns the terminal's columns; 0 where there is no terminal, or one that does not know."""
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        try:
            if stream and (width := os.get_terminal_size(stream.fileno()).columns):
                return width
        except (ValueError, OSError):
            continue
    return 0


def guard_streams() -> None:
    """Opens the standard streams that the process lacks, and guards the output streams against errors of writing."""
    for name, kind in (("stdin", None), ("stdout", _Stdout), ("stderr", _Stream)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process: the next file that is opened would get its place
            setattr(sys, name, open(os.devnull, "w" if kind else "r"))  # noqa: SIM115 - open until the end
        elif kind and os.name == "posix" and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _guarded(stream, kind))


def drop_output() -> None:
    """Drops what is still in the buffer of stdout.

    The end of the process would try to write it, and wait or fail.
    """
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Stream):
        raw.lost = True


class _Stream(io.FileIO):
    """Extends a standard stream: once it cannot be written, it drops what follows.

    Nobody is there to be told.
    """

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
        """Reports that the stream cannot be written; does nothing by default."""


class _Stdout(_Stream):
    """Extends a standard stream: an error of writing is raised."""

    def refuse(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):  # a reader that has seen enough
            raise error
        from hardware.errors import PlannerError
        from planner.files import way_out

        hint = way_out(error, "send it to a file of yours, or to a pipe")
        raise PlannerError(f"standard output cannot be written: {error.strerror}", hint) from None


def _guarded(stream: TextIO, kind: type[_Stream]) -> io.TextIOWrapper:
    """Returns the same stream with errors guarded; characters that its encoding lacks are spelled out."""
    stream.flush()
    raw = kind(stream.fileno(), "w", closefd=False)
    lines = bool(stream.line_buffering)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=lines)


def _wait_for_room(stream: io.FileIO) -> None:
    """Waits until the stream takes data: a full pipe that another process has made non-blocking takes none."""
    import select

    select.select([], [stream], [])

"""Reads and writes the rows of a sweep as a table in a file: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from pydantic import ValidationError

from hardware import PlannerError
from hardware.files.untrusted import UnreadableError, read_file
from planner.extras import needed_for
from planner.files import check_writable, write_whole
from planner.records.sweep import SweepRow

MAX_FILE_BYTES: Final = 1 << 29
"""Bytes of the largest file that is read: about two million rows."""

COLUMNS: Final = tuple(SweepRow.model_fields)


class SweepFileError(PlannerError):
    """Reports a file that holds no rows of a sweep, or those of another one."""


class Format(NamedTuple):
    """Turns rows into the content of a file, and back."""

    read: Callable[[bytes], Iterable[dict[str, Any]]]
    write: Callable[[Sequence[SweepRow]], bytes]
    check: Callable[[], None] = lambda: None
    """Raises MissingExtraError if a library is missing."""


def _from_csv(content: bytes) -> Iterable[dict[str, Any]]:
    lines = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    if tuple(lines.fieldnames or ()) != COLUMNS:
        raise ValueError("its columns are not those of a sweep")
    return ({name: value or None for name, value in line.items()} for line in lines)


def _to_csv(rows: Sequence[SweepRow]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, name) for name in COLUMNS] for row in rows)
    return text.getvalue().encode()


def _has_pyarrow() -> None:
    with needed_for("a Parquet file", "parquet"):
        import pyarrow.parquet  # noqa: F401 - asked for before the work begins


def _from_parquet(content: bytes) -> Iterable[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(pa.BufferReader(content)).to_pylist()
    return found


def _to_parquet(rows: Sequence[SweepRow]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), date: pa.date32(), str: pa.string()}
    kinds = {name: field.annotation for name, field in SweepRow.model_fields.items()}
    schema = pa.schema([(name, types[next(iter(get_args(kinds[name]) or (kinds[name],)))]) for name in COLUMNS])
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


FORMATS: Final = {".csv": Format(_from_csv, _to_csv), ".parquet": Format(_from_parquet, _to_parquet, _has_pyarrow)}
"""Formats by the ending of the file's name."""


def format_of(path: Path) -> Format:
    """Returns the format that a file's name says, after the check that it can be written.

    Raises:
        SweepFileError: The name says none.
        MissingExtraError: A library is missing.
        OutputFileError: The file cannot be written.
    """
    found = FORMATS.get(path.suffix.casefold())
    if found is None:
        raise SweepFileError(f"{path} ends in none of {', '.join(FORMATS)}", f"{path.with_suffix('.csv')}")
    found.check()
    check_writable(path)
    return found


def rows_in(path: Path, key: str) -> list[SweepRow]:
    """Returns the rows that a file holds; none if there is no such file.

    Args:
        path: The file.
        key: What the rows have as `sweep`.

    Raises:
        SweepFileError: The file holds something else.
    """
    if not path.exists():
        return []
    hint = "name another file, or remove this one"
    try:
        content = read_file(path, MAX_FILE_BYTES)
        rows = [SweepRow.model_validate(row) for row in format_of(path).read(content)] if content else []
    except (UnreadableError, ValidationError, ValueError, OSError, csv.Error) as error:
        first = str(error).partition("\n")[0]
        raise SweepFileError(f"{path} holds no rows of a sweep: {first}", hint) from None
    if any(row.sweep != key for row in rows):
        raise SweepFileError(f"{path} holds rows of another sweep, which asked something else", hint)
    return rows


def write_rows(path: Path, rows: Sequence[SweepRow]) -> None:
    """Writes the rows; at any time the file holds whole rows, and those of a model and a length together."""
    write_whole(path, format_of(path).write(rows))

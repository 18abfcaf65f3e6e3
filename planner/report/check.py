"""Renders the answer of `check`: what was read, where it stands, what is refused, and the memory of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.check import CheckResult, KeyPlace, OnGpus, Remark, Setting
from planner.report.changes import change_lines
from planner.report.estimate import EstimateReport
from planner.report.parts.blocks import Wrapped, fields, notes
from planner.report.parts.format import gib, plural
from planner.report.parts.table import Column, table_lines


class CheckReport(NamedTuple):
    """Draws what a run's files say, and its plan."""

    result: CheckResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        if result.plan is None:
            yield Wrapped(Text.assemble(("refused", "bold red"), f": {', '.join(result.files)}"), indent=0)
            for remark in result.refused:
                yield Wrapped(_remark(remark))
        else:
            yield EstimateReport(result.plan)
        if result.smallest or result.on_gpus:
            yield ""
            yield from _smallest(result)
        yield from change_lines(result)
        yield ""
        yield from _settings(result)
        yield from _keys("no effect on memory", result.without_effect)
        yield from _keys("not understood", result.not_understood)
        if result.dead:
            yield Wrapped(f"read by nobody: {'; '.join(map(_remark, result.dead))}")
        yield from notes([*result.notes, *(f"left out: {_remark(remark)}" for remark in result.left_out)])


def _smallest(result: CheckResult) -> Iterator[Text | Wrapped]:
    if result.smallest:
        names = ", ".join(
            f"{_gpus(on)} ({gib(on.process_bytes)} of {gib(on.budget_bytes)} GiB)" for on in result.smallest
        )
        yield Wrapped(f"smallest GPUs that hold it: {names}", indent=0)
    if result.on_gpus:
        heading, rows = table_lines(
            [
                Column("on GPUs", [_gpus(on) for on in result.on_gpus]),
                Column("GiB", [gib(on.process_bytes) for on in result.on_gpus], right=True),
                Column("", ["fits" if on.fits else "does not fit" for on in result.on_gpus]),
            ]
        )
        yield from (heading, *rows)


def _gpus(on: OnGpus) -> str:
    """Returns the number of GPUs and their name, such as `8 x T4`, and the length where it is open."""
    tokens = f", {on.sequence_length:,} tokens" if on.sequence_length is not None else ""
    return f"{on.gpus} x {on.gpu}{tokens}"


def _settings(result: CheckResult) -> Iterator[Wrapped]:
    """Yields what was read: the planner's word, its value, and the key or the default that says it."""
    yield Wrapped(f"read as {result.framework}", "bold", indent=0)
    yield from fields(
        [
            (word.replace("_", "-"), f"{_value(setting.value)}, {_origin(setting)}")
            for word, setting in result.reading.items()
        ]
    )


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _origin(setting: Setting) -> str:
    if setting.place is None:
        return f"default: {setting.why}" if setting.why else "follows"
    place = setting.place
    at = f"{_file(place.file)}:{place.line}" if place.line else place.file
    return f"{at} {place.key}{f' ({setting.why})' if setting.why else ''}"


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _remark(remark: Remark) -> str:
    place = remark.place
    if place is None:
        return remark.what
    at = f"{place.file}:{place.line}" if place.line else place.file
    return f"{at}: {place.key}: {remark.what}"


def _keys(title: str, keys: Sequence[KeyPlace]) -> Iterator[Wrapped]:
    if keys:
        yield Wrapped(f"{title}, {plural(len(keys), 'key')}: {', '.join(key.key for key in keys)}")

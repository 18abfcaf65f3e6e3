"""Renders the answer of `check`: on one screen whether the run fits, what decides that and what changes it; or all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.advice import Cost, Way
from planner.records.check import FITS, CheckResult, OnGpus
from planner.records.result import EstimateResult
from planner.report.check.changes import change_lines
from planner.report.check.settings import decisive, remark_text, settings, summary
from planner.report.estimate import EstimateReport, batch_text, verdict
from planner.report.parts import words
from planner.report.parts.blocks import Filling, Wrapped, first_notes, height, notes, on_host
from planner.report.parts.format import gib
from planner.report.parts.table import Column, table_lines
from planner.report.parts.times import times
from planner.report.ways import first_way_lines

LINES = 40
"""Lines of the screen that the answer should fit on, without those of the prompt."""
_SEVERAL = 3
"""Fewest peaks of which a line says the first and the last."""
NOTES = 3
"""Lines that notes may take in any case: the first ones say what was assumed."""


class CheckReport(NamedTuple):
    """Draws what a run's files say, and its plan."""

    result: CheckResult
    full: bool = False
    """Whether all is shown: the whole account, each setting with its place, every diff and note."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.full:
            yield from self._all()
            return
        result = self.result
        parts: list[RenderableType] = [*(self._refused() if result.plan is None else _short(result.plan))]
        if result.plan is not None and not (result.plan.memory.fits and result.changes):
            parts += decisive(result.reading, result.plan.memory)
        parts += [*self._on_gpus(), *change_lines(result)]
        texts, measure = self._notes(), partial(height, console)
        least = measure("", *summary(result, len(texts)))
        if not self._fits_changed:
            room = LINES - NOTES - least - measure(*parts)
            parts += first_way_lines(self._ways(), measure, room, commands=False)
        told = list(first_notes(console, texts, max(NOTES, LINES - least - measure(*parts))))
        yield from (*parts, "", *summary(result, len(texts) - len(told)), *notes(told, spaced=False))

    def _all(self) -> Iterator[RenderableType]:
        result = self.result
        if result.plan is None:
            yield from self._refused()
        else:
            yield EstimateReport(result.plan.model_copy(update={"ways": self._ways()}))
        yield from (*self._on_gpus(), *change_lines(result, full=True), "", *settings(result), *notes(self._notes()))

    def _refused(self) -> Iterator[Wrapped]:
        yield Wrapped(Text.assemble(("refused", "bold red"), f": {', '.join(self.result.files)}"), indent=0)
        yield from (Wrapped(remark_text(remark)) for remark in self.result.refused)

    def _ways(self) -> tuple[Way, ...]:
        """Returns the ways out: beside changes of the files that make the run fit, those on other machines alone."""
        plan = self.result.plan
        ways = plan.ways if plan is not None else ()
        return tuple(way for way in ways if way.cost is Cost.MONEY or not self._fits_changed)

    @property
    def _fits_changed(self) -> bool:
        """Returns whether changes of the files make the run fit."""
        return any(change.purpose == FITS for change in self.result.changes)

    def _notes(self) -> list[str]:
        return [*self.result.notes, *(f"left out: {remark_text(remark)}" for remark in self.result.left_out)]

    def _on_gpus(self) -> Iterator[RenderableType]:
        """Yields the smallest GPUs that hold the run, and its peak by number of GPUs, or by length."""
        result = self.result
        if result.smallest or result.on_gpus:
            yield ""
        if result.smallest:
            names = ", ".join(
                f"{_gpus(on)} ({gib(on.process_bytes)} of {gib(on.budget_bytes)} GiB)" for on in result.smallest
            )
            yield Wrapped(f"smallest GPUs that hold it: {names}", indent=0)
        if alike := None if self.full else _alike(result.on_gpus):
            yield Wrapped(alike)
        elif result.on_gpus:
            heading, rows = table_lines(
                [
                    Column("on GPUs", [_gpus(on) for on in result.on_gpus]),
                    Column("GiB", [gib(on.process_bytes) for on in result.on_gpus], right=True),
                    Column("", ["fits" if on.fits else "does not fit" for on in result.on_gpus]),
                ]
            )
            yield from (heading, *rows)


def _short(plan: EstimateResult) -> Iterator[RenderableType]:
    """Yields the plan, whether it fits, and what fills the GPU at which moment."""
    yield Wrapped(words.subject(plan.request), "bold", indent=0)
    yield Wrapped(words.strategy(plan.strategy, plan.data_parallel_size, brief=True), indent=0)
    yield Wrapped(batch_text(plan), indent=0)
    yield ""
    yield Wrapped(Text.assemble(verdict(plan), f", peak at {words.moment(plan.memory.moment)}"))
    yield Filling(plan.memory)
    yield from on_host(plan.memory)
    if plan.memory.fits:
        yield next(times(plan.time, plan.data_parallel_size))


def _alike(on_gpus: Sequence[OnGpus]) -> str | None:
    """Returns several peaks in a line where all of them fit, or none; None where they differ, or there are few."""
    if len(on_gpus) < _SEVERAL or len({on.fits for on in on_gpus}) > 1:
        return None
    first, last = on_gpus[0], on_gpus[-1]
    if len({(on.gpus, on.gpu) for on in on_gpus}) == 1:
        what = f"with {first.sequence_length:,} to {last.sequence_length:,} tokens"
    elif len({on.sequence_length for on in on_gpus}) == 1:
        what = f"on {first.gpus} to {last.gpus} GPUs"
    else:
        return None
    peaks = f"{gib(first.process_bytes)} to {gib(last.process_bytes)} GiB"
    return f"{what}: {peaks}, {'each fits' if first.fits else 'none fits'}"


def _gpus(on: OnGpus) -> str:
    """Returns the number of GPUs and their name, such as `8 x T4`, and the length where it is open."""
    tokens = f", {on.sequence_length:,} tokens" if on.sequence_length is not None else ""
    return f"{on.gpus} x {on.gpu}{tokens}"

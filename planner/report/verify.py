"""Renders the answer of `verify`: a replay next to the memory model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.verification import Reservation, Verification
from planner.report.parts import words
from planner.report.parts.blocks import Wrapped, notes
from planner.report.parts.format import gib, mib, plural, seconds
from planner.report.parts.table import Column, table_lines
from planner.report.ways import way_lines
from strategies import Allocator

DECIMALS = 2
"""Decimals of GiB."""
PEFT = "base_model.model."
"""The prefix that PEFT gives to the names of the model it wraps."""
_RESERVED, _PROCESS = "reserved", "process"
SHOWN = 8
"""Most kinds of tensors that are listed; `--json` lists all."""


class VerifyReport(NamedTuple):
    """Draws the certificate of one plan."""

    result: Verification

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        yield Wrapped(words.subject(result.request), "bold", indent=0)
        yield Wrapped(words.strategy(result.plan.strategy, result.plan.data_parallel_size), indent=0)
        yield ""
        yield verdict(result)
        yield ""
        yield from self._peaks()
        yield ""
        yield from self._measured()
        yield from self._tensors()
        yield ""
        yield from self._allocators()
        yield ""
        yield Wrapped(f"two steps of the real model replayed on fake tensors in {seconds(result.seconds)}")
        yield from notes(result.notes)
        yield from way_lines(result.ways)

    def _peaks(self) -> Iterator[Text | Wrapped]:
        result, memory = self.result, self.result.plan.memory
        rows = [(name, p.replay_bytes, p.model_bytes) for name, p in result.phases.items()]
        rows += [
            ("allocated, whole blocks", result.allocated_bytes, memory.allocated_bytes),
            (_RESERVED, result.reserved_bytes, memory.reserved_bytes),
            (_PROCESS, result.process_bytes, memory.process_bytes),
        ]
        heading, lines = table_lines(
            [
                Column("peaks, GiB", [name for name, _, _ in rows]),
                Column("replay", [gib(replayed, DECIMALS) for _, replayed, _ in rows], right=True),
                Column("model", [gib(modelled, DECIMALS) for _, _, modelled in rows], right=True),
                Column("difference", [self._difference(*row) for row in rows], right=True),
            ]
        )
        yield from (heading, *lines)
        if self._has_room:
            yield Wrapped(
                "reserved: the model says how much suffices; the replay, how much was taken with room to spare", "dim"
            )

    @property
    def _has_room(self) -> bool:
        """Whether expandable segments were served without giving cached memory back.

        The replay then says what they take, the memory model what they need: two quantities.
        """
        allocator = self.result.plan.strategy.allocator
        return allocator is Allocator.EXPANDABLE and self.result.allocators[allocator].retries == 0

    def _difference(self, name: str, replayed: int, modelled: int) -> str:
        if self._has_room and name in (_RESERVED, _PROCESS):
            return "has room"
        return f"{modelled / replayed - 1:+.2%}"

    def _measured(self) -> Iterator[Text | Wrapped]:
        """Yields a table of the real run next to its replay, if there was a real run."""
        measured = self.result.measured
        if measured is None:
            return
        rows = [(name, p.measured_bytes, p.replay_bytes) for name, p in measured.phases.items()]
        for name, phase in measured.phases.items():
            if phase.measured_reserved_bytes is not None and phase.replay_reserved_bytes is not None:
                rows.append((f"{name}, reserved", phase.measured_reserved_bytes, phase.replay_reserved_bytes))
        heading, lines = table_lines(
            [
                Column(f"run for real on {measured.device}, MiB", [name for name, _, _ in rows]),
                Column("real run", [mib(real) for _, real, _ in rows], right=True),
                Column("replay", [mib(replayed) for _, _, replayed in rows], right=True),
                Column("difference", [f"{replayed / real - 1:+.2%}" for _, real, replayed in rows], right=True),
            ]
        )
        yield from (heading, *lines)
        if measured.left_out:
            sizes = ", ".join(f"{name.removeprefix('aten::')} {mib(size)}" for name, size in measured.left_out.items())
            yield Wrapped(f"without what kernels allocate for themselves, at most {sizes} MiB")
        yield Text("")

    def _tensors(self) -> Iterator[Text]:
        """Yields a table of the largest groups that are alive at the peak, with the others in one row."""
        groups = self.result.peak_tensors
        rows = [
            (gib(g.num_bytes, DECIMALS), str(g.tensors), g.category, g.name.removeprefix(PEFT)) for g in groups[:SHOWN]
        ]
        if others := groups[SHOWN:]:
            total, tensors = sum(g.num_bytes for g in others), sum(g.tensors for g in others)
            rows.append((gib(total, DECIMALS), str(tensors), "", f"{len(others)} other kinds"))
        sizes, counts, categories, names = (list(column) for column in zip(*rows, strict=True))
        heading, lines = table_lines(
            [
                Column("GiB", sizes, right=True),
                Column("tensors", counts, right=True),
                Column("category", categories),
                Column(f"alive at the peak, in the {self.result.peak_phase} phase", names),
            ]
        )
        yield from (heading, *lines)

    def _allocators(self) -> Iterator[Text]:
        """Yields a table of what each kind of caching allocator reserves, the plan's first."""
        chosen = self.result.plan.strategy.allocator
        kinds = sorted(self.result.allocators.items(), key=lambda item: item[0] is not chosen)
        heading, lines = table_lines(
            [
                Column("caching allocator", [f"{kind}{', as planned' * (kind is chosen)}" for kind, _ in kinds]),
                Column("reserves, GiB", [gib(r.reserved_bytes, DECIMALS) for _, r in kinds], right=True),
                Column("on a larger GPU", [gib(r.unlimited_reserved_bytes, DECIMALS) for _, r in kinds], right=True),
                Column("", [_verdict(r) for _, r in kinds]),
            ]
        )
        yield from (heading, *lines)


def verdict(result: Verification) -> Text:
    """Returns one line that says whether the replay fits."""
    fits, style = ("fits", "green") if result.fits else ("does not fit", "red")
    needs, budget = gib(result.process_bytes, DECIMALS), gib(result.plan.memory.budget_bytes, DECIMALS)
    allocated = f"{gib(result.allocated_bytes, DECIMALS)} GiB allocated, model {result.difference:+.2%}"
    return Text.assemble("  the replay ", (fits, f"bold {style}"), f": {needs} of {budget} GiB; {allocated}")


def _verdict(reservation: Reservation) -> str:
    if not reservation.fits:
        return "does not fit"
    if reservation.retries:
        return f"fits, gives cached memory back {plural(reservation.retries, 'time')}, which costs time"
    return "fits"

"""Prints what the planner says of measured runs: signed errors by group, verdicts, and the reasons of differences."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from published.answer import Answer, Said
from published.replayed import Replay, replay_of
from published.run import Engine, Run
from published.sets.bench import is_full

from hardware import GIB


class Line(NamedTuple):
    """A run with what the planner says of it; `answer` is None where it cannot be asked."""

    run: Run
    answer: Answer | None

    @property
    def replay(self) -> Replay | None:
        return replay_of(self.run)

    @property
    def group(self) -> tuple[str, str, str]:
        return self.run.engine, self.run.method, self.run.kernels

    @property
    def fits(self) -> bool | None:
        """Returns whether the planner says that the run fits, or None where it cannot be asked."""
        return None if self.answer is None else self.answer.planner.fits

    def errors(self, of: Callable[[Answer], Said]) -> Iterator[float]:
        """Yields the relative error of the bytes that the run's set measures: torch's own where it has them."""
        if self.answer is None or not self.run.ran:
            return
        said = of(self.answer)
        if self.run.allocated_bytes:
            yield said.allocated_bytes / self.run.allocated_bytes - 1
        elif self.run.device_bytes and not is_full(self.run):
            yield said.device_bytes / self.run.device_bytes - 1

    def driver_errors(self) -> Iterator[float]:
        """Yields the error of the driver's bytes with the run's own libraries, unless the GPU was full."""
        run = self.run
        if self.answer is not None and run.device_bytes and run.ran and not is_full(run):
            yield self.answer.derived.device_bytes / run.device_bytes - 1

    @property
    def driver_error(self) -> float | None:
        """Returns that error, or None."""
        return next(self.driver_errors(), None)

    def device_errors(self) -> Iterator[float]:
        """Yields the error of the driver's bytes, by the replay and with the terms of the run's own libraries."""
        run, replay = self.run, self.replay
        if self.answer is None or replay is None or not run.device_bytes or not run.ran or is_full(run):
            return
        more = self.answer.derived.allocated_bytes - self.answer.planner.allocated_bytes
        yield (replay.process_bytes + more + run.driver_bytes) / run.device_bytes - 1


WITHIN = 0.08
"""Largest error of the driver's bytes under FSDP1, relative to what nvidia-smi says."""

COLUMNS = ("engine, method, kernels", "n", "planner: median", "90%", "worst", "own libraries: median", "90%", "worst")
COLUMNS += ("driver's: median", "90%", "worst", "replayed", "by replay: median", "90%", "worst", "ran", "out of memory")


def table(lines: Sequence[Line]) -> Iterator[str]:
    """Yields the rows of the table of one set, by engine, method and kernels, and one of all."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for group in sorted({line.group for line in lines}, key=lambda group: (group[0] is not Engine.ONE_GPU, group)):
        yield _row(", ".join(group), [line for line in lines if line.group == group])
    yield _row("all", lines)


def _row(name: str, lines: Sequence[Line]) -> str:
    cells = [name, str(len(lines))]
    cells += _errors(error for line in lines for error in line.errors(lambda answer: answer.planner))
    cells += _errors(error for line in lines for error in line.errors(lambda answer: answer.derived))
    cells += _errors(error for line in lines for error in line.driver_errors())
    cells.append(str(sum(line.replay is not None for line in lines)))
    cells += _errors(error for line in lines for error in line.device_errors())
    return f"| {' | '.join([*cells, _judged(lines, ran=True), _judged(lines, ran=False)])} |"


def _errors(errors: Iterable[float]) -> tuple[str, str, str]:
    """Returns the median, the ninth decile and the worst of errors, as text."""
    found = sorted(errors, key=abs)
    if not found:
        return "", "", ""
    decile = found[math.ceil(0.9 * len(found)) - 1]
    return f"{statistics.median(map(abs, found)):.2%}", f"{abs(decile):.2%}", f"{found[-1]:+.2%}"


def _judged(lines: Sequence[Line], *, ran: bool) -> str:
    """Says how many runs that ran, or did not, are judged right, and how many cannot be said."""
    of_kind = [line for line in lines if line.run.ran is ran]
    if not of_kind:
        return ""
    right = sum(line.fits is ran for line in of_kind)
    unsaid = sum(line.fits is None for line in of_kind)
    return f"{right} of {len(of_kind)}" + (f", {unsaid} unsaid" if unsaid else "")


def near(lines: Iterable[Line], of: Callable[[Answer], Said]) -> int:
    """Returns how many of FSDP1's runs are within `WITHIN` by the driver's bytes."""
    asked = [(of(line.answer).device_bytes, line.run.device_bytes) for line in lines if line.answer]
    return sum(used is not None and abs(said / used - 1) <= WITHIN for said, used in asked)


def within(lines: Sequence[Line]) -> Iterator[str]:
    """Yields how many of FSDP1's runs are within `WITHIN` by the driver's bytes, and why the others are not."""
    found = [line for line in lines if line.run.engine is Engine.FSDP1 and line.driver_error is not None]
    if not found:
        return
    as_asked, of_catalog = near(found, lambda answer: answer.planner), near(found, lambda answer: answer.built_in)
    beyond = [line for line in found if abs(line.driver_error) > WITHIN]
    yield f"The driver's bytes of FSDP1's runs, within {WITHIN:.0%}: {as_asked} of {len(found)} as `estimate` says,"
    if of_catalog != as_asked:
        yield f"{of_catalog} with the context that the catalog's GPU has, and not that of the machine,"
    yield f"{len(found) - len(beyond)} with what the run's own libraries kept{'; of the others:' if beyond else ''}"
    for reason, number in Counter(line.run.left or "nothing is known" for line in beyond).most_common():
        yield f"- {number}: {reason}"


def details(lines: Sequence[Line]) -> Iterator[str]:
    """Yields a line for each run, with the bytes in GiB, and below it why they differ."""
    for line in lines:
        run, answer = line.run, line.answer
        measured = run.allocated_bytes or run.device_bytes
        outcome = f"{measured / GIB:.2f}" if run.ran and measured else "out of memory" if not run.ran else "ran"
        if answer is None:
            yield f"{run.name}: {outcome}; not yet said: {run.unsaid}"
            continue
        kind = "allocated_bytes" if run.allocated_bytes or not run.ran else "device_bytes"
        planner, derived = (getattr(said, kind) / GIB for said in (answer.planner, answer.derived))
        fits = "fits" if line.fits else "does not fit"
        yield f"{run.name}: {outcome}; planner {planner:.2f}, {fits}; with its own libraries {derived:.2f}"
        yield from (f"    asked with {text}" for text in run.nearest)
        for term in run.then:
            kept = (f"{moment} {num_bytes / GIB:+.2f}" for moment, num_bytes in term.bytes_of(run.tokens).items())
            yield f"    {term.reason}: {', '.join(kept)} GiB"
        if (error := line.driver_error) is not None and kind == "allocated_bytes":
            planner, derived = (said.device_bytes / GIB for said in (answer.planner, answer.derived))
            yield (
                f"    the driver's: {run.device_bytes / GIB:.2f}; planner {planner:.2f}; with its own libraries "
                f"{derived:.2f}, {error:+.1%}"
            )
            if abs(error) > WITHIN:
                yield f"    left: {run.left or 'nothing is known'}"
        if line.fits is not run.ran:
            yield "    judged wrong"

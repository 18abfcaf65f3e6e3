"""Follows what a library has around the parts of a micro-batch, which is the same for many settings."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from planner.memory.autograd.marks import Happened, Happening
from planner.memory.sharding.layout import Extra
from planner.memory.step.step import Position


class Around(NamedTuple):
    """Holds what a library has around one happening of a part, where that can be the largest of equal parts.

    Attributes:
        number: Number of the happening in its part.
        within: The largest bytes at an instant within it.
        after: Those from then on until the next one.
    """

    number: int
    within: Extra | None
    after: Extra | None


class Course(NamedTuple):
    """Holds what a library has around all parts in a micro-batch, whatever these hold themselves.

    Attributes:
        forward: What it has around the happenings of each part in forward.
        returned: What it has after the forward of each part.
        backward: Like `forward`, in backward.
        ended: What it has at each instant of the end of backward.
    """

    forward: list[list[Around]]
    returned: list[Extra]
    backward: list[list[Around]]
    ended: tuple[Extra, ...]


class Row(NamedTuple):
    """Describes consecutive equal parts, from each to the next of which the bytes of other parts change evenly.

    Attributes:
        start: Number of the first part.
        stop: Number of the part behind the last one.
        held: Whether what others hold in forward grows (1), stays (0) or shrinks (-1); None for neither.
        saved: The same of what others have in backward.
    """

    start: int
    stop: int
    held: int | None
    saved: int | None

    @classmethod
    def of(cls, places: Sequence[Position]) -> Row:
        """Returns the row of parts in their places."""
        first, last = places[0], places[-1]
        before = [[sum(each) for each in zip(p.saved, p.kept, p.waiting, strict=True)] for p in (first, last)]
        return cls(first.place, last.place + 1, _slope(first.held, last.held), _slope(*before))


def _slope(first: Sequence[int], last: Sequence[int]) -> int | None:
    signs = {(b > a) - (b < a) for a, b in zip(first, last, strict=True)} - {0}
    return None if len(signs) > 1 else next(iter(signs), 0)


Courses = dict[Hashable, Course]
"""Courses by what decides them: most settings differ in bytes alone, and not in what happens."""


def course_of(
    places: Sequence[Position],
    run: Any,
    waits_from: int,
    known: Courses,
    forward: Sequence[Sequence[Happened]],
    backward: Sequence[Sequence[Happened]],
) -> Course:
    """Returns what a library has around all parts, followed if it is not known.

    Args:
        places: All parts, in order.
        run: The bookkeeping of a rank at the start of the micro-batch.
        waits_from: The number of a part from which on no gradient waits for earlier parts.
        known: The courses that have been followed, to which others are added.
        forward: What happens in each part's forward; of equal parts it is the same object.
        backward: The same in backward.
    """
    ends = {0, places[-1].place - 1, places[-1].place, waits_from}  # what stands in lines changes at these
    rows: list[list[Position]] = []
    for before, place in zip((None, *places), places, strict=False):
        if before is None or place.part is not before.part or place.place in ends:
            rows.append([])
        rows[-1].append(place)
    of_rows = tuple([Row.of(row) for row in rows])
    passed = (*forward, *backward)
    apart = {id(happened): happened for happened in passed}
    names = {number: tuple([(h.kind, h.name) for h in happened]) for number, happened in apart.items()}
    numbers = {happened: number for number, happened in enumerate(dict.fromkeys(names.values()))}
    order = tuple([numbers[names[id(happened)]] for happened in passed])
    key = run.key, tuple(numbers), order, of_rows
    if key not in known:
        known[key] = _run_through(run, of_rows, forward, backward)
    return known[key]


def _run_through(
    run: Any,
    rows: Sequence[Row],
    forward: Sequence[Sequence[Happened]],
    backward: Sequence[Sequence[Happened]],
) -> Course:
    """Follows a run through a micro-batch.

    Args:
        run: The bookkeeping of a rank.
        rows: All parts, by rows of equal ones.
        forward: What happens in each part's forward.
        backward: What happens in each part's backward.
    """

    def through(i: int, part: Sequence[Happened]) -> Iterator[tuple[list[Extra], Extra]]:
        after = run.alive.extra()
        for happened in part:
            within: list[Extra] = []
            if happened.kind not in run.ignored:
                within = [*run.happens(i, happened.kind, happened.name)]
                after = run.alive.extra()
            yield within, after

    run.plans(entered([*enumerate(forward), *reversed([*enumerate(backward)])]))
    in_forward, returned = [], []
    for i, happened in enumerate(forward):
        found = enumerate(through(i, happened))
        in_forward.append([Around(n, max((*within, after), key=sum), after) for n, (within, after) in found])
        returned.append(run.alive.extra())
    in_backward = []
    for i, happened in reversed([*enumerate(backward)]):
        found = enumerate(through(i, happened))
        in_backward.append([Around(n, max(within, key=sum, default=None), after) for n, (within, after) in found])
    in_backward.reverse()
    for row in rows:
        parts = range(row.start, row.stop)
        _thin(in_forward, parts, row.held, parts)
        _thin(in_backward, parts, row.saved, parts[::-1])
    return Course(in_forward, returned, in_backward, tuple(run.ends()))


def _thin(around: list[list[Around]], parts: range, slope: int | None, in_time: range) -> None:
    """Drops what is around happenings of equal parts where another one has as much, and as much beside it.

    Args:
        around: What is around the happenings of all parts.
        parts: The numbers of equal parts.
        slope: Whether bytes of other parts grow (1), stay (0) or shrink (-1) from part to part; None for neither.
        in_time: The same numbers in the order in which the parts run; of equal lines the first one counts.
    """
    if slope is None:
        return
    order = {1: parts[::-1], 0: in_time, -1: parts}[slope]
    withins, afters = ([_LEAST] * len(around[parts[0]]) for _ in range(2))
    for i in order:
        left = []
        for number, within, after in around[i]:
            if within is not None and sum(within) > withins[number]:
                withins[number] = sum(within)
            else:
                within = None
            if after is not None and sum(after) > afters[number]:
                afters[number] = sum(after)
            else:
                after = None
            if within is not None or after is not None:
                left.append(Around(number, within, after))
        around[i] = left


_LEAST = -(2**62)
"""Less than any bytes: what is on a part's account is taken off here before it is there."""


def entered(parts: Sequence[tuple[int, Sequence[Happened]]]) -> list[tuple[int, str]]:
    """Returns the (part, name) of every module that is entered, in order."""
    kinds = Happening.ENTERS, Happening.ENTERS_BACKWARD
    return [(i, h.name) for i, happened in parts for h in happened if h.kind in kinds]

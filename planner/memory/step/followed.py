"""Composes a step whose library acts on each parameter: its bookkeeping follows what happens in every part."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from planner.memory.autograd.marks import Happened, Happening
from planner.memory.autograd.tape import Snapshot
from planner.memory.settings.parts import Part
from planner.memory.sharding.account import Unit
from planner.memory.sharding.layout import Ends, Extra, Layout
from planner.memory.sharding.replicated import tied_gradient
from planner.memory.step.courses import Courses, course_of, entered
from planner.memory.step.step import COMPOSED, Line, Lines, Moment, Position, largest_lines, line, positions
from planner.models import Architecture

NOTHING = Snapshot(0, 0, 0, 0, 0)


class Tied(NamedTuple):
    """Describes the gradient of a tied embedding, which waits for the stem's."""

    name: str
    """Name of the parameter."""
    num_bytes: int
    waits_from: int
    """Index of the last part that uses it."""

    @classmethod
    def of(cls, architecture: Architecture, ends: Ends, stem: Unit, *, head: int) -> Tied:
        """Returns that of a model whose head is the part with the number `head`."""
        waits_from = head if ends.waits_from is None else ends.waits_from
        return cls(f"{architecture.embedding_name}.weight", tied_gradient(stem) if ends.tied else 0, waits_from)


def followed(parts: Sequence[Part], layout: Layout, tied: Tied, known: Courses) -> Lines:
    """Returns the lines of the ranks that can need the most memory, each followed through a micro-batch.

    Args:
        parts: Stem, blocks, head and loss.
        layout: What the library has around them.
        tied: The gradient of a tied embedding.
        known: The courses that have been followed, to which others are added.
    """
    places = positions(parts, reach=len(parts))
    return merged([follow(places, run, tied, known) for run in layout.runs()])


def follow(places: Sequence[Position], run: Any, tied: Tied, known: Courses) -> Lines:
    """Returns the lines of forward and backward by moment, without what persists.

    Args:
        places: All parts, in order.
        run: The bookkeeping of a rank at the start of the micro-batch (`planner.memory.sharding.deepspeed.run.Run`).
        tied: The gradient of a tied embedding; of no bytes where none is.
        known: The courses that have been followed, to which others are added.
    """
    forward, backward = _happened(places, run)
    course = course_of(places, run, tied.waits_from, known, forward, backward)
    moments: dict[Moment, list[Line]] = {m: [] for m in COMPOSED}
    last = places[-1].place
    for i, part, held, saved, _, _ in places:
        found = moments[Moment.END_OF_FORWARD if i >= last - 1 else Moment.FORWARD]
        for number, within, after in course.forward[i]:
            happened = forward[i][number]
            if within is not None:
                found.append(line(happened.at, held, saved, within, own=0))
            if after is not None:
                found += [line(s, held, saved, after, own=0) for s in happened.after]
        if part.returned is not None:
            found.append(line(part.returned, saved, saved, course.returned[i], own=0))
    for i, _, _, saved, kept, waiting in reversed(places):
        moment = Moment.BLOCK_BACKWARD if i else Moment.EMBEDDING_BACKWARD
        found = moments[Moment.START_OF_BACKWARD if i >= last - 1 else moment]
        saved = saved[0] + kept[0], saved[1] + kept[1]
        waits = tied.num_bytes if i < tied.waits_from else 0
        before = saved[0] + waiting[0] + waits, saved[1] + waiting[1]
        for number, within, after in course.backward[i]:
            happened = backward[i][number]
            if happened.kind is Happening.GRADIENT and i == 0 and happened.name == tied.name:
                before, waits = (before[0] - waits, before[1]), 0  # it has been added to the stem's
            if within is not None:
                found.append(line(happened.at, before, saved, within, own=happened.at.gradients))
            if after is not None:
                found += [line(s, before, saved, after, own=s.gradients) for s in happened.after]
    ended = places[0].kept
    found = moments[Moment.EMBEDDING_BACKWARD]
    found += [line(NOTHING, ended, ended, extra, own=0) for extra in course.ended]
    return {moment: largest_lines(lines) for moment, lines in moments.items()}


def _happened(places: Sequence[Position], run: Any) -> tuple[list[Sequence[Happened]], list[Sequence[Happened]]]:
    """Returns what happens in each part's forward and backward; of equal parts it is the same object."""
    within = {id(p.part): _recomputed_within(p.part.backward_happened) for p in places}
    forward: list[Sequence[Happened]] = [place.part.forward_happened for place in places]
    backward = [within[id(place.part)] for place in places]
    run.complete(forward, backward)
    return forward, backward


def followed_evaluation(
    trained: Sequence[Part], parts: Sequence[Part], layout: Layout
) -> Iterator[tuple[tuple[int, int], Snapshot, Extra]]:
    """Yields what other parts hold, the bytes of a part, and those around it at each instant of two evaluated batches.

    The first begins after a step's backward; the second finds what the first has left gathered. What is released with
    a module has been decided in the forward pass of training.

    Args:
        trained: The parts of a step of training, whose order of modules the library knows.
        parts: The same parts, traced in evaluation.
        layout: What the library has around them.
    """
    (run,) = layout.runs()
    before, after = _happened(positions(trained, reach=len(trained)), run)
    run.plans(entered([*enumerate(before), *reversed([*enumerate(after)])]))
    forward: list[Sequence[Happened]] = [part.forward_happened for part in parts]
    run.complete(forward, [])
    run.begins()
    for i, found in enumerate(before):
        for h in found:
            deque(run.happens(i, h.kind, h.name), maxlen=0)
    deque(run.ends(), maxlen=0)
    for _ in range(2):
        run.begins()
        for i, _, held, *_ in positions(parts, reach=len(parts)):
            for happened in forward[i]:
                for extra in (*run.happens(i, happened.kind, happened.name), run.alive.extra()):
                    yield held, happened.at, extra
                for snapshot in happened.after:
                    yield held, snapshot, run.alive.extra()


def _recomputed_within(happened: Sequence[Happened]) -> Sequence[Happened]:
    """Returns what happens in a part's backward, with the first module entered before its recomputation.

    That module's backward asks for the first saved tensor, which starts the recomputation.
    """
    first = next((n for n, h in enumerate(happened) if h.kind is Happening.ENTERS_BACKWARD), 0)
    if not any(h.kind is Happening.ENTERS for h in happened[:first]):
        return happened
    begins, module = happened[0], happened[first]
    moved = [begins._replace(after=()), Happened(module.kind, module.name, begins.at, begins.after)]
    stays = module._replace(kind=Happening.BEGINS, name="")
    return [*moved, *happened[1:first], stays, *happened[first + 1 :]]


def merged(found: Sequence[Lines]) -> Lines:
    """Returns the lines of several ranks that can be the largest of any."""
    return {moment: largest_lines(x for lines in found for x in lines[moment]) for moment in found[0]}

"""Extends the trace of a shortened model to the whole one, exactly: where a trace passes between two inner blocks of a
run, the blocks that were left out do the same.

Every storage has a place: which pass over the model allocated it, around which block, as the how-manieth there. Seen
from the block, an inner block's events are the same as its neighbour's, which is checked and not assumed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from hardware import PlannerError
from planner.replay.extension.blocks import BlockRun
from planner.replay.recording.trace import Event, Label, Place, Scope, Section, Trace, Work


class IrregularError(PlannerError):
    """Blocks that look equal but do not allocate alike."""


class _Place(NamedTuple):
    """Where a storage comes from: `section`, the how-manieth `visit` of its block there, and the ordinal in it."""

    section: int
    visit: int
    ordinal: int


class _Piece(NamedTuple):
    """Consecutive events around one block; `visit`: how often the section was there before."""

    section: int
    visit: int
    scope: Scope | None
    events: list[Event]


def extend(trace: Trace, runs: list[BlockRun]) -> Trace:
    """The trace as the whole model would leave it.

    Raises:
        IrregularError: an inner block does not do what its neighbour does.
    """
    for number, run in enumerate(runs):
        if run.missing:
            trace = _Extension(trace, number, run).result()
    return trace


class _Extension:
    def __init__(self, trace: Trace, number: int, run: BlockRun) -> None:
        self.trace, self.number, self.run = trace, number, run
        self.pieces = list(_pieces(trace, number))
        self.first_inner, self.last_inner = run.kept // 2 - 1, run.kept // 2
        self.places: dict[int, tuple[_Place, int]] = {}
        """Of every storage at a block of the run: its place, and the index of its block."""
        for piece in self.pieces:
            if piece.scope is not None:
                made = [e.storage for e in piece.events if e.size > 0]
                # A workspace appears once in a process: in the first block, and no neighbour has one.
                own = [storage for storage in made if trace.labels[storage].category != "overhead"]
                for ordinal, storage in enumerate(own):
                    self.places[storage] = _Place(piece.section, piece.visit, ordinal), piece.scope.block
        self.storages = {(place, index): storage for storage, (place, index) in self.places.items()}
        self.clones: dict[tuple[_Place, int], int] = {}
        self.labels = dict(trace.labels)
        self.next_storage = max(trace.labels, default=0) + 1

    def result(self) -> Trace:
        sections = [Section(s.phase, s.step, []) for s in self.trace.sections]
        previous: _Piece | None = None
        for piece in self.pieces:
            events = sections[piece.section].events
            if previous is not None and previous.section == piece.section:
                for clone in self._between(previous, piece):
                    events += clone
            events += self._moved(piece)
            previous = piece
        self._check_made()
        self._check_frees(sections)
        return Trace(sections, self.labels, dict(self._work()))

    def _work(self) -> Iterator[tuple[Place, Work]]:
        """That of the missing blocks is their neighbour's, and counted there."""
        for (section, scope), work in self.trace.work.items():
            missing = self.run.missing if scope == Scope(self.number, self.first_inner) else 0
            yield (section, scope), work.plus(work, times=missing)

    def _check_made(self) -> None:
        """Whatever the neighbour of the missing blocks makes, they have made."""
        made = {place for place, index in self.storages if index == self.first_inner}
        if lost := made - {place for place, _ in self.clones}:
            name = self.trace.labels[self.storages[min(lost), self.first_inner]].name
            raise self._irregular(f"between {name} and the block that follows, the trace is elsewhere")

    def _check_frees(self, sections: list[Section]) -> None:
        """Nothing is freed twice, and a storage of a missing block is freed if its neighbour's is."""
        before = Counter(e.storage for e in self.trace.events() if e.size < 0)
        freed = Counter(e.storage for s in sections for e in s.events if e.size < 0)
        expected = before + Counter(
            {clone: before[self.storages[place, self.first_inner]] for (place, _), clone in self.clones.items()}
        )
        if freed != expected:
            wrong = next(iter((freed - expected) + (expected - freed)))
            raise self._irregular(f"{self.labels[wrong].name} is freed {freed[wrong]} times")

    def _between(self, before: _Piece, after: _Piece) -> Iterator[list[Event]]:
        """The pieces of the missing blocks, in the direction of the pass."""
        ends = [p.scope.block if p.scope is not None else -1 for p in (before, after)]
        if sorted(ends) != [self.first_inner, self.last_inner]:
            return
        if before.visit != after.visit or self._seen_from_block(before) != self._seen_from_block(after):
            raise self._irregular(f"blocks {self.first_inner} and {self.last_inner} do not allocate alike")
        missing = range(self.last_inner, self.last_inner + self.run.missing)
        for index in missing if ends[0] < ends[1] else reversed(missing):
            yield self._copied(before, index)

    def _seen_from_block(self, piece: _Piece) -> list[tuple[object, ...]]:
        assert piece.scope is not None
        seen: list[tuple[object, ...]] = []
        for storage, size, _ in piece.events:
            if size > 0:
                seen.append((size,))
            elif storage in self.places:
                place, index = self.places[storage]
                seen.append((size, place, index - piece.scope.block))
            else:
                seen.append((size, storage))
        return seen

    def _copied(self, template: _Piece, index: int) -> list[Event]:
        """What a missing block does, `index` in the whole model."""
        assert template.scope is not None
        copied, ordinal = [], 0
        for storage, size, _ in template.events:
            if size > 0:
                place = _Place(template.section, template.visit, ordinal)
                ordinal += 1
                number = self._clone(place, index, storage, template.scope.block)
            elif storage in self.places:
                place, home = self.places[storage]
                number = self._at(place, home - template.scope.block + index)
            else:
                raise self._irregular("a block frees what none of them allocated")
            copied.append(Event(number, size, Scope(self.number, index)))
        return copied

    def _moved(self, piece: _Piece) -> list[Event]:
        """A replayed piece where it stands in the whole model."""
        if piece.scope is None:
            return piece.events
        index = self.run.before_the_cut(piece.scope.block)
        moved = []
        for storage, size, _ in piece.events:
            number = storage
            if size > 0:
                self._rename(storage, piece.scope.block, index)
            elif storage in self.places:
                place, home = self.places[storage]
                if (home <= self.first_inner) != (piece.scope.block <= self.first_inner):
                    # Over the gap: of its neighbour's, or (the loss, freed around the first block) of that very block.
                    number = self.clones.get((place, home - piece.scope.block + index), storage)
            moved.append(Event(number, size, Scope(self.number, index)))
        return moved

    def _at(self, place: _Place, index: int) -> int:
        """The storage with that place, at block `index` of the whole model."""
        if (place, index) in self.clones:
            return self.clones[place, index]
        replayed = index if index <= self.first_inner else index - self.run.missing
        if (place, replayed) not in self.storages:
            raise self._irregular(f"nothing of block {index} stands where its neighbours' do")
        return self.storages[place, replayed]

    def _irregular(self, why: str) -> IrregularError:
        return IrregularError(f"{self.run.path}: {why}", "the whole model has to be replayed")

    def _clone(self, place: _Place, index: int, storage: int, template: int) -> int:
        number = self.next_storage
        self.next_storage += 1
        self.clones[place, index] = number
        category, name = self.trace.labels[storage]
        self.labels[number] = Label(category, self._named(name, template, index))
        return number

    def _rename(self, storage: int, before: int, now: int) -> None:
        category, name = self.trace.labels[storage]
        self.labels[storage] = Label(category, self._named(name, before, now))

    def _named(self, name: str, before: int, now: int) -> str:
        """A name with the block's number in the whole model instead of that in the replay."""
        run = self.run
        for i in range(run.period):
            old = run.replayed_from + before * run.period + i
            new = run.start + now * run.period + i
            if (renamed := re.sub(rf"\b{re.escape(run.path)}\.{old}\b", f"{run.path}.{new}", name, count=1)) != name:
                return renamed
        return name


def _pieces(trace: Trace, run: int) -> Iterator[_Piece]:
    for number, section in enumerate(trace.sections):
        visits: Counter[Scope] = Counter()
        for scope, events in groupby(section.events, key=lambda e: e.scope):
            here = scope if scope is not None and scope.run == run else None
            visit = 0
            if here is not None:
                visit = visits[here]
                visits[here] += 1
            yield _Piece(number, visit, here, list(events))

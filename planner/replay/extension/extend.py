"""Extends the trace of a shortened model to the whole model, exactly.

Wherever the trace passes from one of the two middle blocks of a run to the other, the events of the omitted blocks are
inserted, as copies of those of a middle block. A storage is addressed by the pass over the model that allocated it, the
block around which it was allocated, and its ordinal there. With these addresses, relative to the block, both middle
blocks must have equal events; this is checked, not assumed. Only what they free of neighbours can have another ordinal:
the first and the last block of a run may allocate more or less than the others. What one middle block frees of the
other tells the ordinal in the omitted ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from hardware import PlannerError
from planner.replay.extension.blocks import BlockRun
from planner.replay.extension.seen import Address, Seen, in_common
from planner.replay.recording.trace import Event, Place, Scope, Section, Trace, Work


class IrregularError(PlannerError):
    """Reports blocks that look equal but do not allocate alike."""


class _Piece(NamedTuple):
    """Holds consecutive events of a section around one block of the run, or outside the run."""

    section: int
    visit: int
    """How often the section was at the block before."""
    scope: Scope | None
    """The block; None outside the run."""
    events: list[Event]


def extend(trace: Trace, runs: list[BlockRun]) -> Trace:
    """Returns the trace that a replay of the whole model would record.

    Args:
        trace: The trace of the shortened model.
        runs: The runs of blocks of the model, as `shorten` returns them.

    Raises:
        IrregularError: The middle blocks of a run do not allocate and free alike.
    """
    for number, run in enumerate(runs):
        if run.missing:
            trace = _Extension(trace, number, run).result()
    return trace


class _Extension:
    """Inserts the omitted blocks of one run into a trace."""

    def __init__(self, trace: Trace, number: int, run: BlockRun) -> None:
        self.trace, self.number, self.run = trace, number, run
        self._numbered = re.compile(rf"\b{re.escape(run.path)}\.(\d+)\b")
        """Finds the number of a block of the run's list in a name."""
        self.pieces = list(_pieces(trace, number))
        # The two middle periods of the replay, between which the omitted ones belong.
        self.first_inner, self.last_inner = run.kept // 2 - 1, run.kept // 2
        self.places: dict[int, tuple[Address, int]] = {}
        """Address and block of every storage that is allocated around a block of the run."""
        for piece in self.pieces:
            if piece.scope is not None:
                made = [e.storage for e in piece.events if e.size > 0]
                # cuBLAS allocates its workspace once per process, in the first block; no other block has one.
                own = [storage for storage in made if trace.labels[storage].category != "overhead"]
                for ordinal, storage in enumerate(own):
                    self.places[storage] = Address(piece.section, piece.visit, ordinal), piece.scope.block
        self.storages = {(place, index): storage for storage, (place, index) in self.places.items()}
        self.clones: dict[tuple[Address, int], int] = {}
        """New storages of the omitted blocks, by address and block in the whole model."""
        self.labels = dict(trace.labels)
        self.next_storage = max(trace.labels, default=0) + 1

    def result(self) -> Trace:
        """Returns the extended trace."""
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
        """Yields the work of each block; the first middle block's includes that of the omitted blocks."""
        for (section, scope), work in self.trace.work.items():
            missing = self.run.missing if scope == Scope(self.number, self.first_inner) else 0
            yield (section, scope), work.plus(work, times=missing)

    def _check_made(self) -> None:
        """Checks that the omitted blocks allocate everything that the first middle block does."""
        made = {place for place, index in self.storages if index == self.first_inner}
        if lost := made - {place for place, _ in self.clones}:
            name = self.trace.labels[self.storages[min(lost), self.first_inner]].name
            raise self._irregular(f"between {name} and the block that follows, the trace is elsewhere")

    def _check_frees(self, sections: list[Section]) -> None:
        """Checks that nothing is freed twice, and that a copy is freed exactly if its original is."""
        before = Counter(e.storage for e in self.trace.events() if e.size < 0)
        freed = Counter(e.storage for s in sections for e in s.events if e.size < 0)
        expected = before + Counter(
            {clone: before[self.storages[place, self.first_inner]] for (place, _), clone in self.clones.items()}
        )
        if freed != expected:
            wrong = next(iter((freed - expected) + (expected - freed)))
            raise self._irregular(f"{self.labels[wrong].name} is freed {freed[wrong]} times")

    def _between(self, before: _Piece, after: _Piece) -> Iterator[list[Event]]:
        """Yields the events of the omitted blocks, in the direction of the pass, if they belong between two pieces."""
        ends = [p.scope.block if p.scope is not None else -1 for p in (before, after)]
        if sorted(ends) != [self.first_inner, self.last_inner]:
            return
        seen = in_common(list(self._seen(before)), list(self._seen(after)))
        if before.visit != after.visit or seen is None:
            raise self._irregular(f"blocks {self.first_inner} and {self.last_inner} do not allocate alike")
        missing = range(self.last_inner, self.last_inner + self.run.missing)
        for index in missing if ends[0] < ends[1] else reversed(missing):
            yield self._copied(before, seen, index)

    def _seen(self, piece: _Piece) -> Iterator[Seen]:
        """Yields a piece's events relative to its block."""
        assert piece.scope is not None
        for storage, size, _ in piece.events:
            if size > 0:
                yield Seen(size)
            elif storage in self.places:
                address, index = self.places[storage]
                is_inner = index in (self.first_inner, self.last_inner)
                yield Seen(size, address, index - piece.scope.block, is_inner=is_inner)
            else:
                yield Seen(size, other=storage)

    def _copied(self, template: _Piece, seen: Sequence[Seen], index: int) -> list[Event]:
        """Returns the events of an omitted block, copied from a middle block.

        Args:
            template: The piece of the middle block.
            seen: Its events relative to the block.
            index: The omitted block's index in the whole model.
        """
        assert template.scope is not None
        copied, ordinal = [], 0
        for (storage, size, _), freed in zip(template.events, seen, strict=True):
            if size > 0:
                place = Address(template.section, template.visit, ordinal)
                ordinal += 1
                number = self._clone(place, index, storage, template.scope.block)
            elif freed.address is not None:
                number = self._at(freed.address, index + freed.distance)
            else:
                raise self._irregular("a block frees what none of them allocated")
            copied.append(Event(number, size, Scope(self.number, index)))
        return copied

    def _moved(self, piece: _Piece) -> list[Event]:
        """Returns the events of a replayed piece, with the block and storages they have in the whole model."""
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
                    # The free crosses the gap: it is that of a copy if there is one at this distance, otherwise of the
                    # very storage (such as the loss, which is freed around the first block).
                    number = self.clones.get((place, home - piece.scope.block + index), storage)
            moved.append(Event(number, size, Scope(self.number, index)))
        return moved

    def _at(self, place: Address, index: int) -> int:
        """Returns the storage with this address at block `index` of the whole model."""
        if (place, index) in self.clones:
            return self.clones[place, index]
        replayed = index if index <= self.first_inner else index - self.run.missing
        if (place, replayed) not in self.storages:
            raise self._irregular(f"nothing of block {index} stands where its neighbours' do")
        return self.storages[place, replayed]

    def _irregular(self, why: str) -> IrregularError:
        return IrregularError(f"{self.run.path}: {why}", "the whole model has to be replayed")

    def _clone(self, place: Address, index: int, storage: int, template: int) -> int:
        """Creates the copy of a storage of block `template` for the omitted block `index`, and returns its number."""
        number = self.next_storage
        self.next_storage += 1
        self.clones[place, index] = number
        label = self.trace.labels[storage]
        self.labels[number] = label._replace(name=self._named(label.name, template, index))
        return number

    def _rename(self, storage: int, before: int, now: int) -> None:
        """Changes the block number in a storage's name from that in the replay to that in the whole model."""
        label = self.trace.labels[storage]
        self.labels[storage] = label._replace(name=self._named(label.name, before, now))

    def _named(self, name: str, before: int, now: int) -> str:
        """Returns a name with the block's number in the whole model instead of that in the replay."""
        run = self.run
        if run.path not in name:  # searching for the pattern takes longer
            return name
        for found in self._numbered.finditer(name):
            number = int(found[1]) - run.replayed_from - before * run.period
            if 0 <= number < run.period:
                return f"{name[: found.start(1)]}{run.start + now * run.period + number}{name[found.end(1) :]}"
        return name


def _pieces(trace: Trace, run: int) -> Iterator[_Piece]:
    """Splits a trace where the block changes; everything outside the `run`-th run has no block."""
    for number, section in enumerate(trace.sections):
        visits: Counter[Scope] = Counter()
        for scope, events in groupby(section.events, key=lambda e: e.scope):
            here = scope if scope is not None and scope.run == run else None
            visit = 0
            if here is not None:
                visit = visits[here]
                visits[here] += 1
            yield _Piece(number, visit, here, list(events))

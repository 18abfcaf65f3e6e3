"""Candidates best first, of which most are never asked for: those of a chain follow when the one before is taken."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple

from planner.search.candidate import Candidate
from strategies import Chain, Finetuning, Strategy


class Entry(NamedTuple):
    """The best candidate that is left of a chain: that of its strategy at `place`. `last`: the last that fits."""

    rank: tuple[int, float, int, int]
    order: int
    candidate: Candidate
    chain: Chain
    place: int
    last: int


class Ranking:
    """Feasible candidates, best first.

    Args:
        entries: one for each chain that has a strategy that fits.
        solve: the best candidate of a strategy that fits.
    """

    def __init__(self, entries: Iterable[Entry], solve: Callable[[Strategy], Candidate | None]) -> None:
        self._heap, self._solve = list(entries), solve
        heapq.heapify(self._heap)
        self._count = sum(entry.last - entry.place + 1 for entry in self._heap)

    @classmethod
    def of(cls, candidates: Iterable[Candidate]) -> Ranking:
        """Of candidates that are known already."""
        chained = ((c, Chain(c.strategy)) for c in candidates)
        return cls((Entry(c.rank, i, c, chain, 0, 0) for i, (c, chain) in enumerate(chained)), lambda _: None)

    def __len__(self) -> int:
        return self._count

    def first(self, number: int) -> list[Candidate]:
        """The best ones, which stay."""
        copy = Ranking((), self._solve)
        copy._heap, copy._count = list(self._heap), self._count
        return [copy.take() for _ in range(min(number, self._count))]

    def take(self) -> Candidate:
        """Takes the best one away."""
        best = self._heap[0]
        following = self._following(best)
        if following is None:
            heapq.heappop(self._heap)
        else:
            heapq.heapreplace(self._heap, following)
        self._count -= 1
        return best.candidate

    def _following(self, entry: Entry) -> Entry | None:
        if entry.place == entry.last:
            return None
        place = entry.place + 1
        candidate = self._solve(entry.chain.at(place))
        assert candidate is not None  # it fits, since the last one does
        return entry._replace(rank=candidate.rank, candidate=candidate, place=place)

    def best_by_method(self) -> list[Candidate]:
        """The best one of each fine-tuning method, best first."""
        best: dict[Finetuning, Entry] = {}
        for entry in self._heap:
            method = entry.candidate.strategy.finetuning.method
            best[method] = min(best.get(method, entry), entry)
        return [entry.candidate for entry in sorted(best.values())]

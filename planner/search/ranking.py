"""Ranks candidates lazily.

Most are never asked for, so the next candidate of a chain is solved only when the one before it is taken.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from planner.search.alike import Numbers, alike
from planner.search.candidate import Candidate
from planner.search.order import Rank
from strategies import Chain, Finetuning, Strategy

MOST_LOOKED = 5
"""How many candidates are looked at for each one that is recommended, to find some that are not nearly the same."""

Decide = Callable[[Candidate, Sequence[Candidate]], Candidate | None]
"""Returns the candidate that takes another one's place, which may rank otherwise, or None; the second argument are
those that are to be decided as things are, which it may decide in advance."""


class Entry(NamedTuple):
    """Holds the best remaining candidate of a chain; entries sort best first.

    Attributes:
        rank: Sort key of the candidate.
        order: Position of the chain in the space, which breaks ties.
        candidate: Candidate of the chain's strategy at `place`.
        chain: The chain.
        place: Index of the strategy in the chain.
        last: Index of the chain's last strategy that fits.
    """

    rank: Rank
    order: int
    candidate: Candidate
    chain: Chain
    place: int
    last: int


class Ranking:
    """Holds feasible candidates, best first; its length is their number.

    Args:
        entries: One entry for each chain with a strategy that fits.
        solve: Returns the best candidate of a strategy.
    """

    def __init__(self, entries: Iterable[Entry], solve: Callable[[Strategy], Candidate | None]) -> None:
        self._heap, self._solve = list(entries), solve
        heapq.heapify(self._heap)
        self._count = sum(entry.last - entry.place + 1 for entry in self._heap)

    @classmethod
    def of(cls, candidates: Iterable[Candidate]) -> "Ranking":
        """Returns the ranking of candidates that are solved already."""
        chained = ((c, Chain(c.strategy)) for c in candidates)
        return cls((Entry(c.rank, i, c, chain, 0, 0) for i, (c, chain) in enumerate(chained)), lambda _: None)

    def __len__(self) -> int:
        return self._count

    def first(self, number: int) -> list[Candidate]:
        """Returns the best candidates, up to `number`, without removing them."""
        return list(islice(self._copy(), min(number, len(self))))

    def recommended(self, number: int) -> list[Candidate]:
        """Returns the best candidates, up to `number`, without those for which a better one says as much.

        They reduce gradients more often for nothing, or are the same step in other words (`Candidate.instead`). Those
        that are nearly the same as a better one (`alike`) come only where there is room for all of them.
        """
        found: list[Candidate] = []
        apart: list[int] = []  # places in `found`
        strategies: set[Strategy] = set()
        for looked, candidate in enumerate(self._copy()):
            if len(apart) == number or (looked >= MOST_LOOKED * number and len(found) >= number):
                break
            if any(strategy in strategies for strategy in candidate.instead):
                continue
            if not any(alike(Numbers.of(candidate), Numbers.of(found[place])) for place in apart):
                apart.append(len(found))
            strategies.add(candidate.strategy)
            found.append(candidate)
        others = [place for place in range(len(found)) if place not in apart]
        return [found[place] for place in sorted([*apart, *others[: number - len(apart)]])]

    def _copy(self) -> Iterator[Candidate]:
        """Yields all candidates, best first, and leaves the ranking as it is."""
        copy = Ranking((), self._solve)
        copy._heap, copy._count = list(self._heap), self._count
        while copy:
            yield copy.take()

    def take(self) -> Candidate:
        """Removes the best candidate and returns it; the ranking must not be empty."""
        best = self._heap[0]
        following = self._following(best)
        if following is None:
            heapq.heappop(self._heap)
        else:
            heapq.heapreplace(self._heap, following)
        self._count -= 1
        return best.candidate

    def _following(self, entry: Entry) -> Entry | None:
        """Returns the entry of the next strategy of the chain that fits, or None."""
        if entry.place == entry.last:
            return None
        place = entry.place + 1
        candidate = self._solve(entry.chain.at(place))
        assert candidate is not None  # it fits, since the last one, which takes more, does
        return entry._replace(rank=candidate.rank, candidate=candidate, place=place)

    def decide(self, number: int, decided_as: Decide) -> int:
        """Decides anew what is recommended, and the best of each method, until all of these are decided.

        Args:
            number: Candidates that are recommended.
            decided_as: Decides a candidate.

        Returns:
            The number of candidates that had no other in their place.
        """
        decided: set[Strategy] = set()
        dropped = 0
        while open_ := [c for c in (*self.best_by_method(), *self.recommended(number)) if c.strategy not in decided]:
            entries = [next((e for e in self._heap if e.candidate is c), None) for c in open_]
            undecided = (e for e in sorted(self._heap) if e.candidate.strategy not in decided)
            entry = next((e for e in entries if e is not None), None) or next(undecided)
            candidate = entry.candidate
            decided.add(candidate.strategy)
            self._heap.remove(entry)
            found, following = decided_as(candidate, open_), self._following(entry)
            alone = entry._replace(chain=Chain(candidate.strategy), place=0, last=0)
            dropped += found is None
            self._count -= found is None
            self._heap += [alone._replace(rank=found.rank, candidate=found)] if found is not None else []
            self._heap += [following] if following is not None else []
            heapq.heapify(self._heap)
        return dropped

    def best_by_method(self) -> list[Candidate]:
        """Returns the best candidate of each fine-tuning method, best first."""
        best: dict[Finetuning, Entry] = {}
        for entry in self._heap:
            method = entry.candidate.strategy.finetuning.method
            best[method] = min(best.get(method, entry), entry)
        return [entry.candidate for entry in sorted(best.values())]

"""The exhaustive engine: every strategy of the space is decided, none is sampled.

Of strategies that differ in one growing number (`strategies.Chain`), the smallest is the best and the last that fits is
found by bisection; the others follow when they are asked for.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from hardware import Cluster
from planner.search.candidate import Candidate, Solver
from planner.search.engine import DOES_NOT_FIT, Found, TooManyStrategiesError
from planner.search.ranking import Entry, Ranking
from strategies import Chain, Space

MOST_SOLVED = 25_000
"""Chains. Of gpt2 on H100s, with 2 cores that others used as well, one took 0.4 to 1.5 ms and 22 KB where numbers of
`checkpoint_every` told them apart, and 2.2 ms and 37 KB where those of `lora_dropout` did, for each of which layers are
traced anew: 25,000 take 55 s and 0.95 GB at most."""

MOST_ASKED = 5_000_000
"""Combinations that are asked whether they can run: 4.2 us each there, 21 s for all."""


def search(space: Space, solver: Solver) -> Found:
    """Decides every strategy of the space that can run on the cluster.

    Raises TooManyStrategiesError where that would take too long.
    """
    start = time.perf_counter()
    _check_number(space, solver.cluster)
    chains, rejected = possible(space, solver)
    num_strategies = sum(chain.length for chain in chains)
    ranking = Ranking(_entries(chains, solver), solver.solve)
    if len(ranking) < num_strategies:
        rejected[DOES_NOT_FIT] += num_strategies - len(ranking)
    return Found(ranking, num_strategies, rejected, time.perf_counter() - start)


def possible(space: Space, solver: Solver) -> tuple[list[Chain], Counter[str]]:
    """Strategies that run on the cluster and in which the model can be trained, and what excludes the others."""
    found: list[Chain] = []
    chains, rejected = space.valid(solver.cluster)
    for chain in chains:
        trained, reason = _trainable(chain, solver)
        if reason is not None:
            rejected[reason] += chain.length - trained
        if trained:
            found.append(chain if trained == chain.length else chain._replace(values=chain.values[:trained]))
    return found, rejected


def _trainable(chain: Chain, solver: Solver) -> tuple[int, str | None]:
    """How many strategies of a chain the model can be trained in, the first ones, and why not in the others.

    The number that grows may be of blocks, of which the model has only so many."""

    def violation(place: int) -> str | None:
        return solver.model.violation(chain.at(place))

    if (last := violation(chain.length - 1)) is None:
        return chain.length, None
    trained = bisect_left(range(chain.length - 1), True, key=lambda place: violation(place) is not None)
    return trained, last


def _check_number(space: Space, cluster: Cluster) -> None:
    asked = space.least.num_divisible(cluster)
    if asked <= MOST_SOLVED:
        return
    solved, _ = space.least.counted(cluster)
    number, most = (solved, MOST_SOLVED) if solved > MOST_SOLVED else (asked, MOST_ASKED)
    if number > most:
        raise TooManyStrategiesError(space.counted(cluster)[0], number, most)


def _entries(chains: list[Chain], solver: Solver) -> Iterator[Entry]:
    for order, chain in enumerate(chains):
        candidate = solver.solve(chain.least)
        if candidate is not None:
            yield Entry(candidate.rank, order, candidate, chain, 0, _last_that_fits(chain, solver))


def _last_that_fits(chain: Chain, solver: Solver) -> int:
    """The first does."""
    last = chain.length - 1
    if last == 0 or solver.fits(chain.at(last)):
        return last
    return bisect_left(range(1, last), True, key=lambda place: not solver.fits(chain.at(place)))


def smallest(space: Space, solver: Solver) -> Candidate | None:
    """The candidate with the smallest peak at the smallest allowed micro-batch and one step, fitting or not.

    Raises TooManyStrategiesError where finding it would take too long.
    """
    _check_number(space, solver.cluster)
    chains, _ = possible(space, solver)
    candidates = (solver.candidate(chain.least, solver.smallest_micro_batch, 1) for chain in chains)
    return min(candidates, key=lambda c: (c.process_bytes, c.rank), default=None)

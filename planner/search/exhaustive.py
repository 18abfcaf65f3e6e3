"""Implements the exhaustive engine, which decides every strategy of the space and samples none.

In a chain (`strategies.Chain`), whose strategies differ in one number only, the smallest is the best. The last one that
fits is found by bisection; those between are solved only when they are taken from the ranking.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from hardware import Cluster
from planner.memory.interface import Foreseeing
from planner.search.candidate import Candidate
from planner.search.engine import DOES_NOT_FIT, LACKS_HOST_MEMORY, Found, TooManyStrategiesError
from planner.search.ranking import Entry, Ranking
from planner.search.solver import Solver
from strategies import Chain, Space

MOST_SOLVED = 25_000
"""Most chains that are solved. For gpt2 on H100s, on 2 shared cores, a chain took 0.4 to 1.5 ms and 22 KB if chains
differed in `checkpoint_every`, and 2.2 ms and 37 KB if they differed in `lora_dropout`, for which layers are traced
again. So 25,000 chains take at most 55 s and 0.95 GB."""

MOST_ASKED = 5_000_000
"""Most combinations that are checked for whether they can run; each took 4.2 us on the same cores, so all take 21 s."""


def search(space: Space, solver: Solver) -> Found:
    """Decides every strategy of the space that can run on the solver's cluster.

    Raises:
        TooManyStrategiesError: Deciding all of them would take too long.
    """
    start = time.perf_counter()
    check_number(space, solver.cluster)
    chains, rejected = possible(space, solver)
    num_strategies = sum(chain.length for chain in chains)
    ranking = Ranking(_entries(chains, solver), solver.solve)
    if left := num_strategies - len(ranking):
        on_host = sum(chain.length for chain in chains if solver.lacks_host_memory(chain.least))
        over = sum((_over_limits(chain, solver) for chain in chains), Counter[str]())
        rejected += over
        rejected += Counter({DOES_NOT_FIT: left - on_host - over.total(), LACKS_HOST_MEMORY: on_host})
    return Found(ranking, num_strategies, rejected, time.perf_counter() - start, chains=tuple(chains))


def ranked(chains: Iterable[Chain], solver: Solver) -> Ranking:
    """Returns the candidates of chains of strategies that can run.

    Their strategies have as many risks as each other, as those have that `search` returns.
    """
    return Ranking(_entries(chains, solver), solver.solve)


def possible(space: Space, solver: Solver) -> tuple[list[Chain], Counter[str]]:
    """Returns the strategies that can run, as chains, and counts the others by reason.

    They can run on the cluster, and the model can be trained with them; whether they fit is not considered.
    """
    found: list[Chain] = []
    chains, rejected = space.valid(solver.cluster)
    if isinstance(solver.model, Foreseeing):
        solver.model.foresee(chain.at(chain.length - 1) for chain in chains)
    for chain in chains:
        trained, reason = _trainable(chain, solver)
        if reason is not None:
            rejected[reason] += chain.length - trained
        if trained:
            found += _alike(chain if trained == chain.length else chain._replace(values=chain.values[:trained]), solver)
    return found, rejected


def _alike(chain: Chain, solver: Solver) -> Iterator[Chain]:
    """Yields the chain in parts whose strategies have as many risks, so that the first of each is its best.

    A low rank, for example, is a risk that higher ones are not.
    """
    start, risks = 0, solver.order.risks
    while start < chain.length:
        of_first = risks(chain.at(start))
        end = chain.length
        if risks(chain.at(end - 1)) != of_first:
            end = next(place for place in range(start, end) if risks(chain.at(place)) != of_first)
        whole = (start, end) == (0, chain.length)
        yield chain if whole else Chain(chain.at(start), chain.axis, chain.values[start:end])
        start = end


def _trainable(chain: Chain, solver: Solver) -> tuple[int, str | None]:
    """Returns how many strategies at the start of a chain the model can be trained with, and why not with the others.

    The reason is None if there are no others. The number that grows may be that of trained blocks, for example, which
    cannot exceed the number of the model's blocks.
    """

    def violation(place: int) -> str | None:
        return solver.model.violation(chain.at(place))

    if (last := violation(chain.length - 1)) is None:
        return chain.length, None
    trained = bisect_left(range(chain.length - 1), True, key=lambda place: violation(place) is not None)
    return trained, last


def check_number(space: Space, cluster: Cluster) -> None:
    """Raises TooManyStrategiesError if the space has too many chains to solve, or too many combinations to check."""
    asked = space.least.num_divisible(cluster)
    if asked <= MOST_SOLVED:
        return
    solved, _ = space.least.counted(cluster)
    number, most = (solved, MOST_SOLVED) if solved > MOST_SOLVED else (asked, MOST_ASKED)
    if number > most:
        raise TooManyStrategiesError(space.counted(cluster)[0], number, most)


def _entries(chains: Iterable[Chain], solver: Solver) -> Iterator[Entry]:
    for order, chain in enumerate(chains):
        candidate = solver.solve(chain.least)
        if candidate is not None:
            yield Entry(candidate.rank, order, candidate, chain, 0, _last_that_fits(chain, solver))


def _over_limits(chain: Chain, solver: Solver) -> Counter[str]:
    """Counts the strategies of a chain that fit but are over a limit of the run, by reason.

    Those that fit come first, and of these the ones that are within the limits.
    """
    if not solver.limits.bind:
        return Counter()
    reasons = (solver.exceeds(chain.at(place)) for place in range(chain.length))
    return Counter(reason for reason in reasons if reason is not None)


def _last_that_fits(chain: Chain, solver: Solver) -> int:
    """Returns the index of the last strategy of a chain that fits within the limits, given that the first one does."""
    last = chain.length - 1
    if last == 0 or solver.fits(chain.at(last)):
        return last
    return bisect_left(range(1, last), True, key=lambda place: not solver.fits(chain.at(place)))


def smallest(space: Space, solver: Solver) -> Candidate | None:
    """Returns the candidate with the smallest peak, whether it fits or not, or None if no strategy can run.

    Peaks are compared at the smallest allowed micro-batch and one accumulation step.

    Raises:
        TooManyStrategiesError: Finding it would take too long.
    """
    check_number(space, solver.cluster)
    chains, _ = possible(space, solver)
    candidates = (solver.candidate(chain.least, solver.smallest_micro_batch, 1) for chain in chains)
    return min(candidates, key=lambda c: (c.process_bytes, c.rank), default=None)

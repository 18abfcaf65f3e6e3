"""Finds the best plan on each of many machines.

What machines have in common is computed once: memory that does not depend on the GPU (`MemoryModel.on`), and which
strategies can run, which depends on what a GPU supports and not on how large or fast it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hardware import Cluster
from planner.problem.problem import Problem
from planner.problem.site import Site
from planner.search import Candidate, Solver
from planner.search.exhaustive import check_number, possible
from strategies import Accumulation, Chain, Space


class Placed(NamedTuple):
    """Holds a request on one machine, and the best candidate there; None if nothing fits or can run."""

    problem: Problem
    solver: Solver
    candidate: Candidate | None


class Placing:
    """Solves one request on one machine after another.

    Args:
        problem: The request, resolved for any machine.
        accumulation: What bounds or fixes the accumulation steps.
    """

    def __init__(self, problem: Problem, accumulation: Accumulation) -> None:
        self.problem, self.accumulation = problem, accumulation
        self._chains: dict[tuple[Space, object], list[Chain]] = {}

    def place(self, site: Site, nodes: int) -> Placed:
        """Returns the best candidate on nodes of one kind.

        Raises:
            TooManyStrategiesError: Deciding all strategies would take too long.
        """
        problem = self.problem.at(site, nodes)
        solver = Solver(problem.memory, problem.budget_bytes, self.accumulation, problem.request.micro_batch_size)
        found = (solver.solve(chain.least) for chain in self._possible(problem.space(), solver))
        return Placed(problem, solver, min((c for c in found if c), key=lambda c: c.rank, default=None))

    def _possible(self, space: Space, solver: Solver) -> list[Chain]:
        """Returns the chains of strategies that can run, the first of which is the best of each."""
        key = space, _traits(solver.cluster)
        if key not in self._chains:
            check_number(space, solver.cluster)
            self._chains[key] = possible(space, solver)[0]
        return self._chains[key]


def _traits(cluster: Cluster) -> object:
    """Returns all that decides which strategies can run on a cluster: no rule reads sizes and rates of a GPU."""
    gpu = cluster.gpu
    peaks = frozenset(name for name, peak in gpu.peak_flops if peak is not None)
    return gpu.vendor, gpu.compute_capability, peaks, cluster.gpus_per_node, cluster.nodes


def placed(placing: Placing, sites: Iterable[tuple[Site, int]]) -> Iterator[Placed]:
    """Yields what each pair of (site, nodes) gives."""
    return (placing.place(site, nodes) for site, nodes in sites)

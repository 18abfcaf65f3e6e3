"""Finds the best plan on each of many machines, and ranks the machines.

What machines have in common is computed once: memory that does not depend on the GPU (`MemoryModel.on`), and which
strategies can run, which depends on what a GPU supports and not on how large or fast it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from hardware import GIB, Cluster
from planner.answers.runs import usd_per_million_tokens
from planner.problem.goal import usd_per_hour
from planner.problem.problem import Problem
from planner.problem.site import Site
from planner.search import Candidate, Solver
from planner.search.exhaustive import check_number, possible
from strategies import Chain, ContradictionError, Finetuning, Objective, Space

NO_PRICE = "no price is known"
"""Reason of a machine that is left out where prices decide."""


class Placed(NamedTuple):
    """Holds a request on one machine, and the best candidate there."""

    problem: Problem
    solver: Solver
    candidate: Candidate

    @property
    def tokens_per_second(self) -> float:
        """Returns the tokens of all ranks per second."""
        return self.candidate.global_batch_size * self.solver.model.real_tokens / self.candidate.seconds

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Returns US dollars for a million tokens; None where the price of the machine is not known."""
        return usd_per_million_tokens(self.candidate, self.solver)

    @property
    def size(self) -> tuple[float, ...]:
        """Returns a key that sorts by memory of all GPUs, in whole GiB of each, then by price and number of GPUs.

        Cards of the same size differ by some MiB, which makes none of them smaller.
        """
        cluster, price = self.problem.cluster, usd_per_hour(self.problem)
        total = cluster.world_size * round(cluster.gpu.memory_bytes / GIB)
        return total, inf if price is None else price, cluster.world_size

    @property
    def rank(self) -> tuple[float, ...]:
        """Returns a key that sorts by the objective: risks of the plan, then what the machines are compared by."""
        risks, *rank = self.candidate.rank
        objective = self.problem.request.objective
        if objective is Objective.COST:
            return risks, *self.cost, *rank
        return (risks, *self.size, *rank) if objective is Objective.MEMORY else (risks, *rank, *self.cost)

    @property
    def cost(self) -> tuple[float, ...]:
        """Returns a key that sorts by price per token; machines without a price come last."""
        cost = self.usd_per_million_tokens
        return inf if cost is None else cost, *self.size


class Placing:
    """Solves one request on one machine after another.

    Args:
        problem: The request, resolved for any machine.
        solver_of: Returns the solver of a request.

    Attributes:
        refused: Number of machines to which the request cannot be put, by reason.
        exceeding: Number of machines that would do but for the deadline or the budget of the run, by reason.
    """

    def __init__(self, problem: Problem, solver_of: Callable[[Problem], Solver]) -> None:
        self.problem, self.solver_of = problem, solver_of
        self._chains: dict[tuple[Space, object], list[Chain]] = {}
        self.refused: Counter[str] = Counter()
        self.exceeding: Counter[str] = Counter()

    def all(self, sites: Sequence[tuple[Site, int]]) -> list[Placed]:
        """Returns what each pair of (site, nodes) gives where something fits.

        Raises:
            TooManyStrategiesError: Deciding all strategies would take too long.
            ContradictionError: The request can be put to none of them: the GPUs of none can divide the effective batch,
                or the price of none is known.
        """
        found, refusal = [], None
        for site, nodes in sites:
            try:
                found += [placed] if (placed := self.on(site, nodes)) else []
            except ContradictionError as error:
                self.refused[error.message] += 1
                refusal = error
        if refusal is not None and self.refused.total() == len(sites):
            raise refusal
        return found

    def on(self, site: Site, nodes: int) -> Placed | None:
        """Returns the best candidate on nodes of one kind; None if nothing fits or can run."""
        return min(self.by_method(site, nodes).values(), key=lambda p: p.candidate.rank, default=None)

    def by_method(self, site: Site, nodes: int) -> dict[Finetuning, Placed]:
        """Returns the best candidate of each fine-tuning method with which something fits on nodes of one kind."""
        problem = self.problem.at(site, nodes)
        request = problem.request
        needs_price = request.objective is Objective.COST or request.budget_usd is not None
        if needs_price and usd_per_hour(problem) is None:
            raise ContradictionError(NO_PRICE, "--price USD, for one GPU and hour; or price_per_hour_usd in a catalog")
        solver = self.solver_of(problem)
        best: dict[Finetuning, Candidate] = {}
        chains = self._possible(problem.space(), solver)
        for chain in chains:
            candidate, method = solver.solve(chain.least), chain.least.finetuning.method
            if candidate is not None and (method not in best or candidate.rank < best[method].rank):
                best[method] = candidate
        if not best and solver.limits.bind:
            reasons = (solver.exceeds(chain.least) for chain in chains)
            self.exceeding.update([reason for reason in reasons if reason is not None][:1])
        return {method: Placed(problem, solver, candidate) for method, candidate in best.items()}

    def _possible(self, space: Space, solver: Solver) -> list[Chain]:
        """Returns the chains of strategies that can run; the first strategy of each is its best."""
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

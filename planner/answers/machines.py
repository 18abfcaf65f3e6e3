"""Finds the best plan on each of many machines, and ranks the machines.

What machines have in common is computed once: memory that does not depend on the GPU (`MemoryModel.on`), and which
strategies can run, which depends on what a GPU supports and not on how large or fast it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import NamedTuple

from hardware import Cluster
from planner.answers.commands import fit_command
from planner.answers.plans import plan_of
from planner.problem.problem import Problem
from planner.problem.site import Site
from planner.records.machines import MachinePlan
from planner.search import Candidate, Solver
from planner.search.exhaustive import check_number, possible
from strategies import Allocator, Chain, Space

SECONDS_PER_HOUR = 3600
_MILLION = 10**6


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
        per_hour = self.problem.cluster.price_per_hour_usd
        return None if per_hour is None else per_hour / SECONDS_PER_HOUR / self.tokens_per_second * _MILLION

    @property
    def size(self) -> tuple[float, ...]:
        """Returns a key that sorts by memory of all GPUs, price and number of GPUs."""
        cluster = self.problem.cluster
        price = cluster.price_per_hour_usd
        total = cluster.world_size * cluster.gpu.memory_bytes
        return total, inf if price is None else price, cluster.world_size

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
    """

    def __init__(self, problem: Problem, solver_of: Callable[[Problem], Solver]) -> None:
        self.problem, self.solver_of = problem, solver_of
        self._chains: dict[tuple[Space, object], list[Chain]] = {}

    def all(self, sites: Iterable[tuple[Site, int]]) -> list[Placed]:
        """Returns what each pair of (site, nodes) gives where something fits.

        Raises:
            TooManyStrategiesError: Deciding all strategies would take too long.
        """
        return [placed for site, nodes in sites if (placed := self.on(site, nodes)) is not None]

    def on(self, site: Site, nodes: int) -> Placed | None:
        """Returns the best candidate on nodes of one kind; None if nothing fits or can run."""
        problem = self.problem.at(site, nodes)
        solver = self.solver_of(problem)
        found = (solver.solve(chain.least) for chain in self._possible(problem.space(), solver))
        best = min((candidate for candidate in found if candidate), key=lambda c: c.rank, default=None)
        return None if best is None else Placed(problem, solver, best)

    def _possible(self, space: Space, solver: Solver) -> list[Chain]:
        """Returns the chains of strategies that can run, of each of which the first is the best."""
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


def machine_plan_of(placed: Placed) -> MachinePlan:
    """Returns a machine as users see it, with its best plan and the command that shows the others."""
    problem, cluster = placed.problem, placed.problem.cluster
    return MachinePlan.model_construct(
        name=problem.gpu_asked,
        gpu=cluster.gpu.name,
        gpu_memory_bytes=cluster.gpu.memory_bytes,
        gpus=cluster.gpus_per_node,
        nodes=cluster.nodes,
        offer=cluster.machine.offer if cluster.machine else None,
        price_per_hour_usd=cluster.price_per_hour_usd,
        price_date=cluster.priced.price_date if cluster.price_per_hour_usd is not None else None,
        usd_per_million_tokens=placed.usd_per_million_tokens,
        plan=plan_of(placed.candidate, placed.solver, serves=False),
        command=fit_command(problem),
    )


def notes_on(found: Sequence[Placed]) -> tuple[str, ...]:
    """Returns notes on prices, in sentences."""
    priced = [placed.problem.cluster.priced for placed in found]
    days = [one.price_date for one in priced if one.price_date is not None and one.price_per_hour_usd is not None]
    unpriced = sum(placed.problem.cluster.price_per_hour_usd is None for placed in found)
    notes = []
    if days:
        notes.append(
            f"prices were read between {min(days)} and {max(days)}; `planner machines NAME` has their sources."
        )
    if unpriced:
        notes.append(f"no price is known of {unpriced} of {len(found)} machines: a catalog of yours can say it.")
    if any(placed.candidate.strategy.allocator is Allocator.NATIVE for placed in found):
        notes.append(
            "memory on AMD's and Intel's GPUs is an estimate here, whose segments fragment: the command decides."
        )
    return tuple(notes)

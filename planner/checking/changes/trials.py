"""Tries other values of a run's keys: the files are read with them, and the run is solved, without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from hardware import GPU
from hardware.errors import PlannerError
from planner.answers.plans import plan_of
from planner.checking.asked import arguments_of, on_cluster
from planner.checking.models import say_attention
from planner.checking.targets import say_targets
from planner.problem.resolve import resolve_one
from planner.readers.documents.reading import Reading
from planner.readers.documents.source import Source
from planner.readers.registry import READERS
from planner.readers.run import Run
from planner.readers.settle import settle
from planner.records.plan import Plan
from planner.search import Candidate, Solver
from strategies import OPTIONS


class Cluster(NamedTuple):
    """Says on what a run is tried: arguments of `estimate` that no file says."""

    gpu: GPU
    gpus: int
    nodes: int
    fixed: Mapping[str, Any]
    """The model, the catalog and the headroom."""
    length: int
    """Tokens per sequence where the files do not say how many."""


class Trial(NamedTuple):
    """Holds a run with some keys changed, and what it takes."""

    keys: Mapping[str, Any]
    run: Run
    candidate: Candidate
    solver: Solver

    @property
    def reading(self) -> Reading:
        """Returns what the files say with the changed keys."""
        return self.run.reading

    @property
    def fits(self) -> bool:
        """Returns whether it fits, as far as a closed form says so."""
        candidate = self.candidate
        on_host = candidate.footprint.host.fits(candidate.micro_batch_size)
        return candidate.process_bytes <= self.solver.budget_bytes and on_host

    @property
    def rows(self) -> int:
        """Returns the micro-batch in the sequences of the files, which packed ones make one row of."""
        return int(self.reading.value("micro_batch_size"))

    @property
    def steps(self) -> int:
        """Returns the accumulation steps."""
        return self.candidate.gradient_accumulation_steps

    @property
    def plan(self) -> Plan:
        """Returns the plan of the run as `estimate` makes it, the requests of its steps served by the allocator."""
        return plan_of(self.candidate, self.solver, serves=True)

    def value(self, word: str) -> Any:
        """Returns what the run does in one respect."""
        options = self.candidate.strategy.to_options()
        return options.get(word) if word in OPTIONS else self.reading.value(word)


class Trials:
    """Tries a run's files with changed keys, each set of them once.

    Args:
        sources: The files.
        overrides: Values of keys that the command line says.
        cluster: On what the run is tried.
        base: Values of keys that every trial has.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        overrides: Mapping[str, Any],
        cluster: Cluster,
        base: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.sources, self.overrides, self.cluster, self.base = sources, overrides, cluster, base
        self._known: dict[str, Trial | None] = {}

    def of(self, keys: Mapping[str, Any]) -> Trial | None:
        """Returns the run with some keys changed; None if it is refused."""
        keys = {**self.base, **keys}
        name = repr(sorted(keys.items()))
        if name not in self._known:
            self._known[name] = self._tried(keys)
        return self._known[name]

    def beginning_with(self, keys: Mapping[str, Any]) -> Trials:
        """Returns trials that have some keys changed already."""
        return Trials(self.sources, self.overrides, self.cluster, {**self.base, **keys})

    def unchanged(self) -> Run:
        """Returns the run as its files and the command line say it."""
        return self._run({})

    def _run(self, keys: Mapping[str, Any]) -> Run:
        ranks = self.cluster.gpus * self.cluster.nodes
        run = Run(self.sources, READERS, {**self.overrides, **keys}, ranks)
        settle(run.reading)
        return run

    def _tried(self, keys: Mapping[str, Any]) -> Trial | None:
        try:
            cluster = self.cluster
            run = self._run(keys)
            say_targets(run.reading, cluster.fixed["model"])
            say_attention(run.reading, cluster.fixed["model"])
            if run.reading.refused:
                return None
            said = {**arguments_of(run.reading, run, [], cluster.length), **cluster.fixed}
            rest = on_cluster(said, cluster.gpu, cluster.gpus, cluster.nodes)
            model, gpu, catalog = (rest.pop(name) for name in ("model", "gpu", "catalog"))
            sizes = [rest.pop(name, 1) for name in ("micro_batch_size", "gradient_accumulation_steps")]
            axes = {name: rest.pop(name) for name in OPTIONS if name in rest}
            _, solver, candidate = resolve_one(model, gpu, catalog, axes, rest, sizes[0], sizes[1])
        except PlannerError:
            return None
        return Trial(keys, run, candidate, solver)

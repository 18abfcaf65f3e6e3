"""Plans one model at one length on all machines of a sweep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hardware import GPU, Catalog, Machine, PlannerError
from planner.answers.machines import Placed, Placing
from planner.answers.runs import run_of
from planner.problem.goal import usd_per_hour
from planner.problem.problem import Problem
from planner.problem.search_request import fields_of, solver_of
from planner.problem.site import Site
from planner.records.asked.space import SpaceSource
from planner.records.sweep import SweepRow


class Asked(NamedTuple):
    """Holds what a sweep asks, but for models and lengths; processes get it once.

    Attributes:
        gpus: GPUs of the catalog.
        machines: Its machines.
        sites: Each kind of node with each number of nodes.
        given: Arguments of a search, by name.
        axes: Options of techniques, by name.
        space: Values of options that `axes` leaves open.
    """

    gpus: tuple[GPU, ...]
    machines: tuple[Machine, ...]
    sites: tuple[tuple[Site, int], ...]
    given: Mapping[str, Any]
    axes: Mapping[str, Any]
    space: SpaceSource

    @property
    def key(self) -> str:
        """Returns a short text that another question, or another price, does not have."""
        said = repr((self.sites, sorted(self.given.items()), sorted(self.axes.items()), self.space))
        return hashlib.sha256(said.encode()).hexdigest()[:12]


def rows_of(asked: Asked, model: str, length: int | None) -> list[SweepRow]:
    """Returns the rows of one model at one length; one row with the reason if it cannot be planned."""
    (first, number), *_ = asked.sites
    try:
        fields = fields_of({**asked.given, "sequence_length": length, "gpus": first.gpus, "nodes": number})
        catalog = Catalog(asked.gpus, asked.machines)
        problem = Problem(model, first.gpu, catalog, asked.axes, fields, space=asked.space)
        placing = Placing(problem, solver_of)
        return [row for site, nodes in asked.sites for row in _rows_on(placing, site, nodes, model, asked.key)]
    except PlannerError as error:
        return [SweepRow(sweep=asked.key, model=model, sequence_length=length, fits=False, reason=error.message)]


def _rows_on(placing: Placing, site: Site, nodes: int, model: str, key: str) -> Iterator[SweepRow]:
    problem = placing.problem
    where: dict[str, Any] = {
        **{"sweep": key, "model": model, "parameters": problem.model.num_parameters},
        **{"machine": site.name, "gpu": site.gpu.name, "gpus": site.gpus, "nodes": nodes},
        "sequence_length": problem.request.sequence_length,
    }
    try:
        found = placing.by_method(site, nodes)
    except PlannerError as error:
        yield SweepRow.model_construct(None, **where, fits=False, reason=error.message)
        return
    for method in problem.space().finetuning:
        placed = found.get(method)
        planned = {} if placed is None else _planned(placed)
        yield SweepRow.model_construct(**where, method=str(method), fits=placed is not None, **planned)


def _planned(placed: Placed) -> dict[str, Any]:
    problem, solver, candidate = placed
    options = {name: str(value) for name, value in candidate.strategy.to_options().items() if value is not None}
    run = run_of(candidate, solver)
    price = usd_per_hour(problem)
    by_catalog = price is not None and problem.request.gpu_usd_per_hour is None
    return {
        **{name: options.get(name) for name in ("precision", "optimizer", "quantization", "checkpointing", "sharding")},
        "micro_batch_size": candidate.micro_batch_size,
        "gradient_accumulation_steps": candidate.gradient_accumulation_steps,
        "global_batch_size": candidate.global_batch_size,
        "process_bytes": candidate.process_bytes,
        "budget_bytes": solver.budget_bytes,
        "step_seconds": candidate.seconds,
        "tokens_per_second": placed.tokens_per_second,
        "usd_per_hour": price,
        "price_date": problem.cluster.priced.price_date if by_catalog else None,
        "usd_per_million_tokens": placed.usd_per_million_tokens,
        "run_seconds": run.seconds if run else None,
        "run_usd": run.usd if run else None,
    }

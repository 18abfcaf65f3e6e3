"""Writes down machines in their order, with the smallest, the fastest and the cheapest one, and notes on prices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from planner.answers.commands import fit_command
from planner.answers.machines import Placed, Placing
from planner.answers.plans import plan_of
from planner.problem.goal import usd_per_hour
from planner.problem.problem import Problem
from planner.records.machines import MachinePlan, MachineRanking
from strategies import Allocator, Objective, UpTo


def ranking_of(
    problem: Problem, found: Sequence[Placed], placing: Placing, asked: int, top: int, file: str | None = None
) -> MachineRanking:
    """Returns the answer of `fit_machines`.

    Args:
        problem: The request on any of the machines.
        found: Machines on which something fits.
        placing: What has placed the request, with the reasons of the machines that are left out.
        asked: Number of machines that were asked for.
        top: Number of machines to return.
        file: Catalog file that the commands have to name; None for the built-in catalog, or that of the environment.
    """
    placed = sorted(found, key=lambda p: p.rank)
    marked: dict[str, Placed | None] = {}
    if placed:
        marked["smallest"] = min(placed, key=lambda p: p.size)
        marked["fastest"] = max(placed, key=lambda p: p.tokens_per_second)
        cheapest = min(placed, key=lambda p: p.cost)
        marked["cheapest"] = None if cheapest.usd_per_million_tokens is None else cheapest
    shown = [*placed[:top], *(p for p in marked.values() if p is not None)]
    plans = {id(p): machine_plan_of(p, file) for p in shown}
    marks: dict[str, Any] = {name: None if p is None else plans[id(p)] for name, p in marked.items()}
    return MachineRanking.model_construct(
        None,
        request=placed[0].problem.request if placed else problem.request,
        machines=tuple(plans[id(p)] for p in placed[:top]),
        **marks,
        asked=asked,
        fitting=len(placed),
        unpriced=sum(p.usd_per_million_tokens is None for p in placed),
        refused=dict(placing.refused),
        exceeding=dict(placing.exceeding),
        notes=(*problem.model.notes, *_on_speed(placed), *_on_prices(placed), *_on_memory(placed)),
    )


def machine_plan_of(placed: Placed, file: str | None) -> MachinePlan:
    """Returns a machine as users see it, with its best plan and the command that shows the others."""
    problem, cluster = placed.problem, placed.problem.cluster
    return MachinePlan.model_construct(
        name=problem.gpu_asked,
        gpu=cluster.gpu.name,
        gpu_memory_bytes=cluster.gpu.memory_bytes,
        gpus=cluster.gpus_per_node,
        nodes=cluster.nodes,
        offer=cluster.machine.offer if cluster.machine else None,
        price_per_hour_usd=usd_per_hour(problem),
        price_date=cluster.priced.price_date if problem.request.gpu_usd_per_hour is None else None,
        plan=plan_of(placed.candidate, placed.solver, serves=False),
        command=fit_command(problem, file),
    )


def _on_speed(found: Sequence[Placed]) -> Iterator[str]:
    """Yields a note where plans are those of the largest batch, so that their speed is not the machine's best."""
    if (
        len(found) > 1
        and found[0].solver.order.objective is Objective.BATCH
        and isinstance(found[0].solver.accumulation, UpTo)
    ):
        yield "speeds are of the largest batches, which are not the fastest: --objective throughput or cost compares."


def _on_prices(found: Sequence[Placed]) -> Iterator[str]:
    """Yields notes on when prices were read, and how many are missing."""
    if not found or found[0].problem.request.gpu_usd_per_hour is not None:
        return
    priced = [placed.problem.cluster.priced for placed in found if usd_per_hour(placed.problem) is not None]
    days = [one.price_date for one in priced if one.price_date is not None]
    if days:
        when = f"on {days[0]}" if len(set(days)) == 1 else f"between {min(days)} and {max(days)}"
        yield f"prices were read {when}; `planner machines NAME` and `planner gpus NAME` have their sources."
    if undated := len(priced) - len(days):
        yield f"{undated} prices have no day, and say so in their source: check them first."
    if unpriced := len(found) - len(priced):
        yield f"no price is known of {unpriced} of {len(found)} machines: a catalog of yours can say it."


def _on_memory(found: Sequence[Placed]) -> Iterator[str]:
    """Yields a note where no closed form says what the allocator needs."""
    if any(placed.candidate.strategy.allocator is Allocator.NATIVE for placed in found):
        yield "memory on GPUs of AMD and Intel, whose segments fragment, is estimated here: the command decides."

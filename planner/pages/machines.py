"""Draws a ranking of machines: the best one, the smallest, the fastest and the cheapest get pictures."""

from __future__ import annotations

from collections.abc import Iterator

from planner.pages.rows import OTHERS, Row, front_of
from planner.records.asked.request import Request
from planner.records.machines import MachinePlan, MachineRanking


def groups_of(ranking: MachineRanking) -> dict[str, MachinePlan]:
    """Returns the machines that get pictures, by what tells them apart: what each is the best in, and its name."""
    best = {
        "best": ranking.machines[0] if ranking.machines else None,
        "cheapest": ranking.cheapest,
        "fastest": ranking.fastest,
        "smallest": ranking.smallest,
    }
    roles: dict[str, list[str]] = {}
    found: dict[str, MachinePlan] = {}
    for role, machine in best.items():
        if machine is not None:
            roles.setdefault(machine.where, []).append(role)
            found[machine.where] = machine
    return {f"{', '.join(roles[where])}: {where}": machine for where, machine in found.items()}


def machine_rows(ranking: MachineRanking) -> Iterator[Row]:
    """Yields a row for each machine, in the order of the ranking, then those with pictures that it leaves out."""
    pictured = [machine.where for machine in groups_of(ranking).values()]
    machines = list(ranking.machines)
    machines += [m for m in groups_of(ranking).values() if m.where not in {machine.where for machine in machines}]
    on_front = front_of([machine.plan for machine in machines])
    for number, (machine, is_on_front) in enumerate(zip(machines, on_front, strict=True), start=1):
        group = pictured.index(machine.where) if machine.where in pictured else OTHERS
        rank = number if number <= len(ranking.machines) else None
        yield Row(_request_on(ranking.request, machine), machine.plan, machine.where, rank, group, is_on_front)


def _request_on(request: Request, machine: MachinePlan) -> Request:
    """Returns the request put to one machine."""
    return request.model_copy(
        update={
            "gpu": machine.gpu,
            "gpu_memory_bytes": machine.gpu_memory_bytes,
            "gpus": machine.gpus,
            "nodes": machine.nodes,
            "machine": machine.name if machine.offer is not None else None,
        }
    )

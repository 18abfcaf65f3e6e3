"""Defines the answer to the question which machine, as pydantic models that round-trip through JSON."""

from datetime import date
from typing import Literal

from planner.records.asked.request import Request
from planner.records.display import Displayed
from planner.records.plan import Count, Plan, Record, Total
from planner.records.verification import SCHEMA_VERSION


class MachinePlan(Record):
    """Holds the best plan on nodes of one kind, and what they cost."""

    name: str
    """Name of the machine that each node is, or else of the GPU."""
    gpu: str
    gpu_memory_bytes: Total
    """Bytes of one GPU that processes can use."""
    gpus: Count
    """GPUs per node."""
    nodes: Count
    offer: str | None = None
    """Who rents the machine, and where; None where only its GPUs are known."""
    price_per_hour_usd: float | None = None
    """US dollars for all nodes; None where no price is known."""
    price_date: date | None = None
    """Day on which the price was read."""
    plan: Plan
    command: str
    """Command that shows all plans on this machine."""

    @property
    def where(self) -> str:
        """Returns the machine in a few words, such as `2 x p5.48xlarge` or `8 x T4`."""
        if self.offer is None:
            return f"{self.gpus * self.nodes} x {self.gpu}"
        return self.name if self.nodes == 1 else f"{self.nodes} x {self.name}"


class MachineRanking(Displayed, Record):
    """Holds the answer of `fit_machines`: the best plan on each machine, the best machine first."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    """The request; `gpu`, `machine`, `gpus` and `nodes` are those of one of the machines."""
    machines: tuple[MachinePlan, ...]
    """The best machines, best first, as many as `top` of the request."""
    smallest: MachinePlan | None = None
    """Machine with the least memory of all GPUs together on which something fits, and of these the cheapest."""
    fastest: MachinePlan | None = None
    """Machine with the most tokens per second."""
    cheapest: MachinePlan | None = None
    """Machine with the lowest price per token; None where no price is known."""
    asked: Count
    """Number of machines that were asked for."""
    fitting: int
    """Number of machines on which something fits."""
    unpriced: int
    """Number of these whose price is not known."""
    refused: dict[str, int]
    """Number of machines to which the request cannot be put, by reason: GPUs that cannot divide the effective batch."""
    exceeding: dict[str, int]
    """Number of machines on which something fits, but no run ends within the deadline or the budget, by reason."""
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """Returns the number of machines on which something fits, and the best one, in words."""
        found = f"{self.request.model} fits on {self.fitting} of {self.asked} machines"
        return f"{found}, best {self.machines[0].where}" if self.machines else found

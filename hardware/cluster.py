"""Describes several GPUs of one kind: nodes, ranks, and the bandwidth between ranks."""

from dataclasses import dataclass

from hardware.errors import PlannerError
from hardware.gpu import GPU
from hardware.machine import Machine, Priced

DEFAULT_NODE_NETWORK_BYTES_PER_SECOND = 12_500_000_000
"""Network bandwidth of a whole node: 100 Gb/s, as of AWS g4dn.metal (8 x T4), g5.48xlarge (8 x A10G) and g6.48xlarge
(8 x L4)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Describes `nodes` machines with `gpus_per_node` GPUs each, and one rank on each GPU.

    Raises:
        PlannerError: A number is not a positive whole number.
    """

    gpu: GPU
    gpus_per_node: int = 1
    nodes: int = 1
    host_bytes: int | None = None
    """Host memory of one node; None for what the machine has, or what is usual with as many of these GPUs."""
    machine: Machine | None = None
    """What each node is rented as; None where only its GPUs are known."""

    def __post_init__(self) -> None:
        for field, count in (("gpus_per_node", self.gpus_per_node), ("nodes", self.nodes)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise PlannerError(
                    f"{field} is {count!r}, not a positive whole number", f"use {field}=1 for a single one"
                )

    @property
    def world_size(self) -> int:
        """Returns the total number of ranks."""
        return self.gpus_per_node * self.nodes

    @property
    def host_memory_bytes(self) -> int:
        """Returns the bytes of one node's host memory: as given, or the machine's, or the catalog's for its GPUs."""
        of_machine = self.machine.host_memory_bytes if self.machine else None
        return self.host_bytes or of_machine or self.gpus_per_node * self.gpu.host_memory_bytes

    @property
    def network_bytes_per_second(self) -> int:
        """Returns a GPU's share of its node's network, in bytes per second in one direction.

        It is that of the machine, or `network_link` of the catalog (DGX H100: 400 Gb/s for each GPU), or else 100 Gb/s
        divided by the number of GPUs in the node.
        """
        if self.machine and self.machine.network_bytes_per_second:
            return self.machine.network_bytes_per_second // self.gpus_per_node
        network = self.gpu.network_link
        return network.bytes_per_second if network else DEFAULT_NODE_NETWORK_BYTES_PER_SECOND // self.gpus_per_node

    @property
    def price_per_hour_usd(self) -> float | None:
        """Returns the price per hour of all nodes: of the machines, or else of all GPUs one by one; None if unknown."""
        if self.machine:
            each = self.machine.price_per_hour_usd
            return None if each is None else each * self.nodes
        return None if self.gpu.price_per_hour_usd is None else self.gpu.price_per_hour_usd * self.world_size

    @property
    def priced(self) -> Priced:
        """Returns what the price is of, with its date and source: the machine, or else the GPU."""
        return self.machine or self.gpu


def has_room(limit_bytes: int | None, num_bytes: int) -> bool:
    """Returns whether bytes are within a limit; None is a limit that is not known, which nothing exceeds."""
    return limit_bytes is None or num_bytes <= limit_bytes

"""Lists other machines, the cheapest first: more GPUs of the same kind, and other GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from hardware import GPU, Cluster
from planner.advice.changes import Change
from planner.advice.variants import Variants
from planner.records.advice import Cost

MAX_GPUS_SUGGESTED = 1024
"""GPUs of the largest cluster that is suggested."""
MOST_TIMES_THE_MEMORY = 4
"""Times the GPU memory of the cheapest other machine that fits, above which more of the same GPUs are no way out: 64
small GPUs in place of one larger."""


def more_gpus(variants: Variants) -> Iterator[Change]:
    """Yields more GPUs of the same kind, each time twice as many; a node is filled before nodes are added."""
    cluster = variants.problem.cluster
    per_node, nodes = cluster.gpus_per_node, cluster.nodes
    while per_node * nodes < MAX_GPUS_SUGGESTED:
        if nodes == 1 and per_node * 2 <= max(cluster.gpu.gpus_per_node, per_node):
            per_node *= 2
        else:
            nodes *= 2
        options = {"gpus": per_node, "nodes": nodes}
        told = _price(cluster.gpu, per_node * nodes)
        yield Change(options, f"{per_node * nodes} x {cluster.gpu.name}", Cost.MONEY, but=told)


def other_gpus(variants: Variants) -> Iterator[Change]:
    """Yields other GPUs, one of them or as many as are asked for: those of the same vendor, then the cheapest first."""
    cluster = variants.problem.cluster
    counts = {1, cluster.gpus_per_node} if cluster.nodes == 1 else {cluster.gpus_per_node}
    least = cluster.world_size * cluster.gpu.memory_bytes
    machines = sorted(
        (gpu.vendor != cluster.gpu.vendor, cost_key(gpu, count * cluster.nodes), count, gpu.name, gpu)
        for gpu in variants.problem.catalog
        for count in counts
        if gpu != cluster.gpu and (gpu.memory_bytes > cluster.gpu.memory_bytes or count * gpu.memory_bytes > least)
    )
    for *_, count, _, gpu in machines:
        options: dict[str, object] = {"gpu": gpu}
        if count != cluster.gpus_per_node:
            options["gpus"] = count
        ranks = count * cluster.nodes
        yield Change(options, f"{ranks} x {gpu.name}", Cost.MONEY, but=_price(gpu, ranks))


def cost_key(gpu: GPU, number: int) -> tuple[float, float]:
    """Returns what sorts machines by cost: the price where the catalog has one, otherwise all of their memory.

    Machines of unknown price come after those of a known one: what they cost cannot be told.
    """
    price = gpu.price_per_hour_usd
    return (price * number if price is not None else float("inf"), number * gpu.memory_bytes)


def memory_of(cluster: Cluster) -> int:
    """Returns the bytes of all GPUs of a cluster together."""
    return cluster.world_size * cluster.gpu.memory_bytes


def _price(gpu: GPU, number: int) -> str:
    price = gpu.price_per_hour_usd
    return f"{price * number:,.2f} USD per hour" if price is not None else ""

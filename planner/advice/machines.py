"""Lists other machines, the cheapest first: more GPUs of the same kind, and other GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hardware import GIB, Cluster
from planner.advice.changes import Change
from planner.advice.variants import Variants
from planner.problem.site import Site
from planner.records.advice import Cost

MAX_GPUS_SUGGESTED = 1024
"""GPUs of the largest cluster that is suggested."""
MOST_TIMES_THE_MEMORY = 4
"""Times the GPU memory of the cheapest other machine that fits, above which more of the same GPUs are no way out: 64
small GPUs in place of one larger."""
MOST_TIMES_AS_LONG = 2
"""Times the time per token above which another machine is no way out, as where its nodes have a slow network."""


def more_gpus(variants: Variants) -> Iterator[Change]:
    """Yields more GPUs of the same kind, each time twice as many; a node is filled before nodes are added."""
    cluster = variants.problem.cluster
    per_node, nodes = cluster.gpus_per_node, cluster.nodes
    while per_node * nodes < MAX_GPUS_SUGGESTED:
        options = {"nodes": nodes * 2}
        if nodes == 1 and cluster.machine is None and per_node * 2 <= max(cluster.gpu.gpus_per_node, per_node):
            per_node *= 2
            options = {"gpus": per_node}
        else:
            nodes *= 2
            options |= {"gpus": per_node} if per_node != cluster.gpus_per_node else {}
        larger = replace(cluster, gpus_per_node=per_node, nodes=nodes)
        yield Change(options, f"{larger.world_size} x {cluster.gpu.name}", Cost.MONEY, but=_price(larger))


def other_machines(variants: Variants) -> Iterator[Change]:
    """Yields other GPUs, one or as many as are asked for, and machines: of the same vendor, then the cheapest first."""
    problem = variants.problem
    now, nodes, catalog = problem.cluster, problem.cluster.nodes, problem.catalog
    counts = {1, now.gpus_per_node} if nodes == 1 else {now.gpus_per_node}
    sites = [Site(gpu, count) for gpu in catalog for count in counts]
    sites += [Site(catalog.get(machine.gpu), machine.gpus, machine) for machine in catalog.machines]
    offers = [(site.cluster(nodes, problem.request.host_memory_bytes), site) for site in sites]
    others = [(offer, site) for offer, site in offers if offer.gpu != now.gpu and _is_larger(offer, now)]
    for offer, site in sorted(others, key=lambda of: (of[0].gpu.vendor != now.gpu.vendor, cost_key(of[0]), of[1].name)):
        words = f"{offer.world_size} x {offer.gpu.name}"
        if site.machine is not None:
            words = f"{f'{nodes} x ' if nodes > 1 else ''}{site.name}, {words} of {site.machine.provider}"
        yield Change({"site": site}, words, Cost.MONEY, but=_price(offer))


def _is_larger(offer: Cluster, now: Cluster) -> bool:
    """Returns whether a GPU has more memory, or all of them together have.

    Cards of one size differ by what drivers leave of it: to whole GiB they do not.
    """
    each, before = (round(cluster.gpu.memory_bytes / GIB) for cluster in (offer, now))
    return each > before or offer.world_size * each > now.world_size * before


def cost_key(cluster: Cluster) -> tuple[float, float]:
    """Returns what sorts clusters by cost: the price where the catalog has one, otherwise all of their memory.

    Those of unknown price come after those of a known one: what they cost cannot be told.
    """
    price = cluster.price_per_hour_usd
    return (price if price is not None else float("inf"), memory_of(cluster))


def memory_of(cluster: Cluster) -> int:
    """Returns the bytes of all GPUs of a cluster together."""
    return cluster.world_size * cluster.gpu.memory_bytes


def _price(cluster: Cluster) -> str:
    price = cluster.price_per_hour_usd
    if price is None:
        return ""
    day = cluster.priced.price_date
    return f"{price:,.2f} USD per hour{f' on {day:%Y-%m-%d}' if day else ''}"

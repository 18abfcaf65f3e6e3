"""Says nodes and GPUs where a file says nothing but how many ranks there are together."""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.reading import Place

PER_NODE = 8
"""GPUs of a node where nothing says another number: those of NVIDIA's DGX and HGX."""


def say_ranks(keys: Keys, ranks: int, place: Place | None, why: str) -> None:
    """Says the GPUs of one node, or the nodes of eight, that so many ranks need.

    Args:
        keys: The keys of the file.
        ranks: GPUs of all nodes.
        place: What says so.
        why: How it follows from that.
    """
    if ranks > PER_NODE and ranks % PER_NODE:
        keys.reading.refuse(f"{ranks} GPUs, which are no whole nodes of {PER_NODE}", place)
    keys.reading.say("gpus", max(1, min(ranks, PER_NODE)), place, why)
    keys.reading.say("nodes", max(1, ranks // PER_NODE), place, why)

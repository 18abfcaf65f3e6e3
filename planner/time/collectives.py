"""Computes the seconds of collectives, and what remains of them while the GPU computes."""

from __future__ import annotations

from planner.memory import Moved
from planner.time.rates import Rates

HOP_SECONDS = 8e-6
"""Latency of a collective for each rank in its ring: 4 nodes of 8 B200 take 250 us more for 64 MiB than its bytes do at
the bandwidth of 16 GiB (stas00/ml-engineering 744d01e, network/README.md)."""
OVERLAP = 0.35
"""Share of the shorter of computation and communication that is lost where both run: products take 30 to 40% longer
while NCCL's kernels run (github.com/pytorch/pytorch/pull/179937)."""


def collective_seconds(moved: Moved, rates: Rates) -> float:
    """Returns the seconds of collectives: latency, and bytes over bandwidth.

    Gathers and scatters run one after the other. Replicas reduce on a stream of their own beside them (FSDP's
    `all_reduce_stream`).
    """
    sharding = moved.within_node / rates.node_link_bytes + moved.across_nodes / rates.network_bytes
    return max(sharding, moved.between_peers / rates.peer_bytes) + moved.hops * HOP_SECONDS


def overlapped(computing: float, exchanging: float) -> float:
    """Returns the seconds of computing and exchanging at the same time.

    They are those of the longer one, and a share of the shorter one, by which the two slow each other down.
    """
    return max(computing, exchanging) + OVERLAP * min(computing, exchanging)

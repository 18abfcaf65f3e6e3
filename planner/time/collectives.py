"""Computes the seconds of collectives, and what remains of them while the GPU computes."""

from __future__ import annotations

from planner.memory import Moved, Traffic
from planner.time.rates import Rates

HOP_SECONDS = 8e-6
"""Latency of a collective for each rank in its ring: 4 nodes of 8 B200 take 250 us more for 64 MiB than its bytes do at
the bandwidth of 16 GiB (stas00/ml-engineering 744d01e, network/README.md)."""
OVERLAP = 0.35
"""Share of the shorter of computation and communication that is lost where both run: products take 30 to 40% longer
while NCCL's kernels run (github.com/pytorch/pytorch/pull/179937)."""
OVERLAP_OF_FSDP1 = 1.0
"""The same for what FSDP1 exchanges within a node: nothing is won. It launches the gather of a unit when the host has
come to it, which is hardly ahead of the GPU (github.com/pytorch/pytorch, issues 106177 and 108234). Llama 3.1 8B takes
as much longer on two, four and eight GPUs of one node than on one as its gathers take (LLMFineTuningBench), and
llm-foundry's step times bear it out. Between nodes, where gathers take longer than a unit computes, they overlap."""


def collective_seconds(moved: Moved, rates: Rates) -> float:
    """Returns the seconds of collectives: latency, and bytes over bandwidth.

    Gathers and scatters run one after the other. Replicas reduce on a stream of their own beside them (FSDP's
    `all_reduce_stream`).
    """
    sharding = moved.within_node / rates.node_link_bytes + moved.across_nodes / rates.network_bytes
    return max(sharding, moved.between_peers / rates.peer_bytes) + moved.hops * HOP_SECONDS


def lost_seconds(computing: float, exchanging: float, moved: Moved, traffic: Traffic) -> float:
    """Returns the seconds by which computing and exchanging at the same time takes longer than the longer one alone.

    Args:
        computing: Seconds of the computation alone.
        exchanging: Seconds of the exchange alone.
        moved: The bytes that are exchanged.
        traffic: All that the rank exchanges.
    """
    by_fsdp1 = traffic.lockstep and traffic.units and not moved.across_nodes and not moved.between_peers
    return (OVERLAP_OF_FSDP1 if by_fsdp1 else OVERLAP) * min(computing, exchanging)

"""Names the streams of a GPU, each of which has a pool of memory of its own."""

from __future__ import annotations

from enum import StrEnum


class Stream(StrEnum):
    """Names the streams of a GPU on which storages are allocated; a block of the allocator serves one of them only."""

    COMPUTE = "compute"
    """The default stream, on which the model runs."""
    GATHER = "gather"
    """FSDP's stream of all-gathers: FSDP1 has the gathered parameters there, FSDP2 the buffer they are copied from."""
    SHARD = "shard"
    """FSDP1's stream on which shards are cast, or copied from the host, before they are gathered."""
    REDUCE = "reduce"
    """FSDP's stream of reduce-scatters, which has the sharded gradients."""
    REPLICATE = "replicate"
    """FSDP2's stream of all-reduces over replicas of shards, which has the gradients that are cast afterwards."""

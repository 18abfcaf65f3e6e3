"""Makes what the requests of both sets share."""

from __future__ import annotations

FSDP1 = {"sharding": "full_shard", "sharding_backend": "fsdp1", "gradient_sync": "last"}
"""How the planner is asked for FSDP1 as accelerate sets it up."""

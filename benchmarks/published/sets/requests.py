"""Makes what the requests of both sets share."""

from __future__ import annotations

FSDP1 = {"sharding": "full_shard", "sharding_backend": "fsdp1", "gradient_sync": "last"}
"""How the planner is asked for FSDP1 as accelerate sets it up."""
BEFORE_TORCH_2_8 = {"wrapping": "torch-2.7"}
"""What is asked in addition where torch was an earlier one, as 2.4 was in both sets."""

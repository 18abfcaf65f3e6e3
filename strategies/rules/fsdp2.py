"""Says which choices cannot run with FSDP2, and why.

Which optimizers step its shards stands with the optimizers, and which bases it shards with fine-tuning.
"""

from __future__ import annotations

from hardware import Cluster
from strategies.sharding import Fsdp2, Offload, Replicated
from strategies.strategy import Strategy


def fsdp2(s: Strategy, _: Cluster) -> str | None:
    """Returns why a strategy cannot run with FSDP2, or None; other backends have no objection here."""
    if isinstance(s.sharding, Replicated) and s.sharding.offload in (Offload.CPU, Offload.OPTIMIZER):
        # torch/distributed/optim/zero_redundancy_optimizer.py
        return "torch's ZeroRedundancyOptimizer offloads nothing: sharding_backend deepspeed"
    if isinstance(s.sharding, Fsdp2) and s.sharding.to_options()["offload"] is Offload.OPTIMIZER:
        return "FSDP2 offloads parameters along with the optimizer: offload cpu"
    return None

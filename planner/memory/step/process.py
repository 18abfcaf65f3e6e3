"""What a process takes beyond its tensors: workspaces, the caching allocator's slack, context, communicators."""

from __future__ import annotations

from typing import NamedTuple

from hardware import Cluster
from strategies import Allocator, Attention

MIB = 2**20

NATIVE_PER_MILLE, NATIVE_PER_MILLE_EAGER = 176, 421
"""What the native allocator reserves beyond what is allocated, in thousandths of what comes and goes within a step
(allocated less what stays): medians of 35 runs with SDPA (0.03 to 0.45) and 23 with eager attention (0.10 to 0.60),
LoRA and QLoRA of 0.1 to 7 B parameters on a T4 (fitcheck-llm) and an RTX 4080 (can-i-finetune-this). An estimate:
fragmentation depends on the order of allocations, and near the limit the allocator returns cached blocks first."""

EXPANDABLE_BYTES = 100 * MIB
EXPANDABLE_PER_MILLE = 70
"""What expandable segments need beyond what is allocated, pages of 20 MiB that are free in part: so much, and so many
thousandths of what comes and goes within a step. At most that much in 168 replays of ten models of 0.07 to 8 B
parameters (benchmarks/fragmentation.py); the worst is Adafactor on a 7B model, the median 1% of what is allocated."""

NCCL_PAIR_BYTES = 544 * MIB
NCCL_GROUP_BYTES = 688 * MIB
"""One communicator on A100s with NVLink, of two GPUs and of more; beyond two nodes it no longer grows. GPUs with fewer
channels (PCIe) take less. Source: measured in NVIDIA/nccl issue 964; growth: issue 986."""

CUBLAS_HANDLES = 2
"""The main thread's and the autograd thread's, one workspace each (aten/src/ATen/cuda/CublasHandlePool.cpp)."""


class Outside(NamedTuple):
    """Bytes of one process that are not tensors."""

    workspace_bytes: int
    """cuBLAS workspaces; they come from torch's allocator and count as allocated."""
    context_bytes: int
    communicator_bytes: int

    @classmethod
    def of(cls, cluster: Cluster) -> Outside:
        ranks = cluster.world_size
        communicator = 0 if ranks == 1 else NCCL_PAIR_BYTES if ranks == 2 else NCCL_GROUP_BYTES
        return cls(CUBLAS_HANDLES * cluster.gpu.cublas_workspace_bytes, cluster.gpu.context_bytes, communicator)

    def process_bytes(self, reserved_bytes: int) -> int:
        return reserved_bytes + self.context_bytes + self.communicator_bytes

    def reserved_within(self, budget_bytes: int) -> int:
        """The largest `reserved_bytes` with which the process is within the budget."""
        return budget_bytes - self.context_bytes - self.communicator_bytes


class Slack(NamedTuple):
    """How much has to be reserved for what is allocated."""

    fixed_bytes: int
    per_mille: int
    persistent_bytes: int
    """What stays allocated between steps, which does not fragment."""

    @classmethod
    def of(cls, allocator: Allocator, attention: Attention, persistent_bytes: int) -> Slack:
        if allocator is Allocator.EXPANDABLE:
            return cls(EXPANDABLE_BYTES, EXPANDABLE_PER_MILLE, persistent_bytes)
        eager = attention is Attention.EAGER
        return cls(0, NATIVE_PER_MILLE_EAGER if eager else NATIVE_PER_MILLE, persistent_bytes)

    def reserved_bytes(self, allocated_bytes: int) -> int:
        varying = allocated_bytes - self.persistent_bytes
        return allocated_bytes + varying * self.per_mille // 1000 + self.fixed_bytes

    def allocated_within(self, reserved_bytes: int) -> int:
        """The largest `allocated_bytes` for which no more than that has to be reserved: the exact inverse."""
        room = reserved_bytes - self.fixed_bytes - self.persistent_bytes
        varying = ((room + 1) * 1000 - 1) // (1000 + self.per_mille)
        return self.persistent_bytes + varying

"""What a process takes beyond its tensors: workspaces, the caching allocator's slack, context, communicators."""

from __future__ import annotations

from typing import NamedTuple

from hardware import Cluster

MIB = 2**20

RESERVED_PER_MILLE = 1104
"""Reserved per allocated bytes, in thousandths: the median of 68 runs that reported both counters and did not use eager
attention (T4 LoRA 1.08 and QLoRA 1.13 by fitcheck-llm, RTX 4080 QLoRA 1.07 by can-i-finetune-this, L4 full fine-tuning
1.10 by Mist, B200 pretraining 1.05 by SimuMax; range 1.02 to 1.37). An estimate: fragmentation depends on the order of
allocations, and near the limit the allocator returns cached blocks before it gives up."""

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

    @staticmethod
    def reserved_bytes(allocated_bytes: int) -> int:
        return allocated_bytes * RESERVED_PER_MILLE // 1000

    def process_bytes(self, allocated_bytes: int) -> int:
        return self.reserved_bytes(allocated_bytes) + self.context_bytes + self.communicator_bytes

    def allocated_within(self, budget_bytes: int) -> int:
        """The largest `allocated_bytes` for which `process_bytes` is within the budget: its exact inverse."""
        reserved = budget_bytes - self.context_bytes - self.communicator_bytes
        return ((reserved + 1) * 1000 - 1) // RESERVED_PER_MILLE

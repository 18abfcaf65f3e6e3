"""Computes what a process takes beyond its tensors: workspaces, allocator slack, CUDA context, communicators."""

from typing import NamedTuple

from hardware import Cluster
from strategies import Allocator, Attention

MIB = 2**20

NATIVE_PER_MILLE, NATIVE_PER_MILLE_EAGER = 176, 421
"""Bytes that the native allocator reserves beyond what is allocated, in thousandths of the bytes that come and go
within a step (allocated bytes less those that persist), with SDPA and with eager attention. They are medians of 35 runs
with SDPA (0.03 to 0.45) and 23 with eager attention (0.10 to 0.60), LoRA and QLoRA of 0.1 to 7 B parameters on a T4
(fitcheck-llm) and an RTX 4080 (can-i-finetune-this). This is an estimate: fragmentation depends on the order of
allocations, and near the limit the allocator returns cached blocks first."""

EXPANDABLE_BYTES = 100 * MIB
EXPANDABLE_PER_MILLE = 70
"""Bytes that expandable segments reserve beyond what is allocated, since pages of 20 MiB are partly free: a fixed
number, plus thousandths of the bytes that come and go within a step. None of 168 replays of ten models of 0.07 to 8 B
parameters needed more (benchmarks/fragmentation.py); the worst is Adafactor on a 7B model, the median 1% of what is
allocated."""

NCCL_PAIR_BYTES = 544 * MIB
NCCL_GROUP_BYTES = 688 * MIB
"""Bytes of one NCCL communicator on A100s with NVLink, for two GPUs and for more. Beyond two nodes it no longer grows;
GPUs with fewer channels (PCIe) take less. Source: measured in NVIDIA/nccl issue 964; growth: issue 986."""

CUBLAS_HANDLES = 2
"""cuBLAS handles of a process, the main thread's and the autograd thread's, with one workspace each
(aten/src/ATen/cuda/CublasHandlePool.cpp)."""


class Outside(NamedTuple):
    """Bytes of one process that are not tensors."""

    workspace_bytes: int
    """Bytes of cuBLAS workspaces; they come from torch's allocator and count as allocated."""
    context_bytes: int
    """Bytes of the driver's context and loaded kernels."""
    communicator_bytes: int
    """Bytes of NCCL's communicators; 0 on one rank."""

    @classmethod
    def of(cls, cluster: Cluster) -> "Outside":
        """Returns the bytes of one rank's process on a cluster."""
        ranks = cluster.world_size
        communicator = 0 if ranks == 1 else NCCL_PAIR_BYTES if ranks == 2 else NCCL_GROUP_BYTES
        return cls(CUBLAS_HANDLES * cluster.gpu.cublas_workspace_bytes, cluster.gpu.context_bytes, communicator)

    def with_communicators(self, number: int) -> "Outside":
        """Returns the bytes with so many communicators in place of one."""
        return self._replace(communicator_bytes=number * self.communicator_bytes)

    def process_bytes(self, reserved_bytes: int) -> int:
        """Returns the bytes that the process takes of the GPU when torch's allocator has reserved `reserved_bytes`."""
        return reserved_bytes + self.context_bytes + self.communicator_bytes

    def reserved_within(self, budget_bytes: int) -> int:
        """Returns the largest `reserved_bytes` with which the process takes no more than the budget."""
        return budget_bytes - self.context_bytes - self.communicator_bytes


class Slack(NamedTuple):
    """Relates the bytes that torch's allocator has allocated to those that it has to reserve."""

    fixed_bytes: int
    """Bytes reserved in addition whatever is allocated."""
    per_mille: int
    """Thousandths of the bytes that come and go within a step, reserved in addition."""
    persistent_bytes: int
    """Bytes that stay allocated between steps, which do not fragment."""

    @classmethod
    def of(cls, allocator: Allocator, attention: Attention, persistent_bytes: int) -> "Slack":
        """Returns the slack of an allocator; the native one's depends on whether attention is eager."""
        if allocator is Allocator.EXPANDABLE:
            return cls(EXPANDABLE_BYTES, EXPANDABLE_PER_MILLE, persistent_bytes)
        eager = attention is Attention.EAGER
        return cls(0, NATIVE_PER_MILLE_EAGER if eager else NATIVE_PER_MILLE, persistent_bytes)

    @property
    def nothing(self) -> "Slack":
        """The slack of an allocator that reserves no more than what is allocated, which none can undercut."""
        return Slack(0, 0, self.persistent_bytes)

    def reserved_bytes(self, allocated_bytes: int) -> int:
        """Returns the bytes that have to be reserved when `allocated_bytes` are allocated at the peak."""
        varying = allocated_bytes - self.persistent_bytes
        return allocated_bytes + varying * self.per_mille // 1000 + self.fixed_bytes

    def allocated_within(self, reserved_bytes: int) -> int:
        """Returns the largest `allocated_bytes` that need no more than `reserved_bytes`: the exact inverse."""
        room = reserved_bytes - self.fixed_bytes - self.persistent_bytes
        varying = ((room + 1) * 1000 - 1) // (1000 + self.per_mille)
        return self.persistent_bytes + varying

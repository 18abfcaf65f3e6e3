"""States on the host."""

from __future__ import annotations

from planner.memory.sharding.optimizers.rule import Kept
from planner.memory.sharding.state import ALLOCATION_BYTES, TrainedTensor, allocated
from strategies import Offloaded


class OffloadedStates(Kept[Offloaded]):
    """torchao/optim/cpu_offload.py: gradients are copied to the host as they come, and stay on the GPU until
    `zero_grad`; parameters come back. Small tensors have a fused AdamW of their own on the GPU."""

    def states(self, tensor: TrainedTensor) -> int:
        return 2 * allocated(tensor.num_elements * tensor.itemsize) if self._stays(tensor) else 0

    def counts(self, tensor: TrainedTensor) -> int:
        return ALLOCATION_BYTES if self._stays(tensor) else 0

    def host(self, tensor: TrainedTensor) -> int:
        return 0 if self._stays(tensor) else 2 * tensor.num_elements * tensor.itemsize

    def _stays(self, tensor: TrainedTensor) -> bool:
        return tensor.num_elements < self.facts.smallest

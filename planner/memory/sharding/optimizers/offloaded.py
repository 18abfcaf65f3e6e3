"""Counts states and temporaries of torchao's optimizer with states on the host."""

from __future__ import annotations

from planner.libraries.allocator import BLOCK_BYTES, allocated, pinned
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import Offloaded


class OffloadedStates(OptimizerRule[Offloaded]):
    """Computes what `CPUOffloadOptimizer` keeps on the GPU and moves to the host (torchao/optim/cpu_offload.py).

    Gradients are copied to the host as soon as they are finished, and stay on the GPU until `zero_grad`; updated
    parameters are copied back. Small tensors have a fused AdamW of their own on the GPU.
    """

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of both AdamW states of a small tensor, which stay on the GPU."""
        return 2 * allocated(tensor.num_elements * tensor.itemsize) if self._stays(tensor) else 0

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a small tensor's step counter."""
        return BLOCK_BYTES if self._stays(tensor) else 0

    def host(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a tensor's gradient, copied to the host, and of its parameter, copied back."""
        return 0 if self._stays(tensor) else 2 * tensor.num_elements * tensor.itemsize

    def hosted(self, tensor: TrainedTensor) -> tuple[int, int, int]:
        """Returns the bytes of a tensor's pinned copy, of its pinned gradient, and of both states, in its dtype."""
        if self._stays(tensor):
            return 0, 0, 0
        num_bytes = tensor.num_elements * tensor.itemsize
        return pinned(num_bytes), pinned(num_bytes), 2 * num_bytes

    def _stays(self, tensor: TrainedTensor) -> bool:
        return tensor.num_elements < self.facts.smallest

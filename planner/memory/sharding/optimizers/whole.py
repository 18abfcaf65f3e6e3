"""Counts states of each tensor's own shape, and their temporaries: AdamW, SGD with momentum, fp32 master weights."""

from __future__ import annotations

from collections.abc import Sequence

from planner.libraries.allocator import BLOCK_BYTES, allocated
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.rule import Groups, OptimizerRule
from strategies import Whole


class WholeStates(OptimizerRule[Whole]):
    """Computes states of each tensor's shape, and the copies of them that a `foreach` step makes of all at once."""

    steps_at_once = True

    def states_one_by_one(self, tensor: TrainedTensor) -> Sequence[int]:
        """Returns the bytes of each of a tensor's states, in the states' dtype."""
        return [self._one(tensor)] * self.facts.states

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a tensor's states, in the states' dtype."""
        return self.facts.states * self._one(tensor)

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of the step counter, an fp32 scalar, where it is kept on the GPU."""
        return BLOCK_BYTES if self.facts.counts_on_gpu else 0

    def passes_over_memory(self) -> float:
        """Returns how many times a `foreach` step moves what a fused one does.

        Of AdamW's tensors `foreach` reads or writes 20 where the fused kernel does 7: weight decay 2, lerp 3, mul 2,
        addcmul 3, sqrt 2, div 2, add 2, addcdiv 4 (torch/optim/adam.py, `_multi_tensor_adam`).
        """
        return 20 / 7 if self.facts.foreach_copies else 1.0

    def temporaries(self, groups: Groups, ranks: int) -> int:
        """Returns the bytes of the copies that a `foreach` step makes of all tensors, on one of `ranks`."""
        copies = self.facts.foreach_copies
        return copies and -(-copies * sum(n * sum(map(self._one, tensors)) for tensors, n in groups) // ranks)

    def temporaries_of(self, tensor: TrainedTensor, ranks: int = 1) -> int:
        """Returns the bytes of the copies that a `foreach` step makes of one tensor, on one of `ranks`."""
        return -(-self.facts.foreach_copies * self._one(tensor) // ranks)

    def _one(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of one state of a tensor."""
        return allocated(tensor.num_elements * (self.facts.itemsize or tensor.itemsize))

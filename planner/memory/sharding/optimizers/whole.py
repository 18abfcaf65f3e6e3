"""States of each tensor's own shape: AdamW, SGD with momentum, fp32 master weights."""

from __future__ import annotations

from planner.memory.sharding.optimizers.rule import Groups, Kept
from planner.memory.sharding.state import ALLOCATION_BYTES, TrainedTensor, allocated
from strategies import Whole


class WholeStates(Kept[Whole]):
    def states(self, tensor: TrainedTensor) -> int:
        return self.facts.states * self._one(tensor)

    def counts(self, tensor: TrainedTensor) -> int:
        """An fp32 scalar."""
        return ALLOCATION_BYTES if self.facts.counts_on_gpu else 0

    def temporaries(self, groups: Groups, ranks: int) -> int:
        copies = self.facts.foreach_copies
        return copies and -(-copies * sum(n * sum(map(self._one, tensors)) for tensors, n in groups) // ranks)

    def temporaries_of(self, tensor: TrainedTensor, ranks: int = 1) -> int:
        return -(-self.facts.foreach_copies * self._one(tensor) // ranks)

    def _one(self, tensor: TrainedTensor) -> int:
        return allocated(tensor.num_elements * (self.facts.itemsize or tensor.itemsize))

"""Adam-mini."""

from __future__ import annotations

from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import Kept
from planner.memory.sharding.state import ALLOCATION_BYTES, TrainedTensor, allocated
from strategies import Rowwise


class RowwiseStates(Kept[Rowwise]):
    """adam_mini/adam_mini.py: a momentum, and a second moment per row of a matrix, of a whole norm, or of every element
    of a bias. (Queries and keys have one per head, which is at most 0.03% of their momentum less.)"""

    def states(self, tensor: TrainedTensor) -> int:
        size = allocated(tensor.num_elements * tensor.itemsize)
        if len(tensor.shape) > 1:
            return size + allocated(tensor.shape[0] * tensor.itemsize)
        return 2 * size if self._is_bias(tensor) else size

    def counts(self, tensor: TrainedTensor) -> int:
        return ALLOCATION_BYTES if len(tensor.shape) == 1 and not self._is_bias(tensor) else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        whole = tensor.num_elements * tensor.itemsize
        if self._is_bias(tensor):
            names.let("square root", whole)
            names.let("h", whole)
            names.let("square root", 0)
            return
        names.let("grad * grad", whole)
        names.let("grad * grad", 0)
        names.let("update", whole)
        names.passing(whole)  # -update

    @staticmethod
    def _is_bias(tensor: TrainedTensor) -> bool:
        return tensor.name.endswith("bias")

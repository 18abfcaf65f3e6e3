"""Counts states and temporaries of Adam-mini."""

from __future__ import annotations

from planner.libraries.allocator import BLOCK_BYTES, allocated
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import Rowwise


class RowwiseStates(OptimizerRule[Rowwise]):
    """Computes a momentum of the tensor's shape and a smaller second moment (adam_mini/adam_mini.py).

    The second moment has one number per row of a matrix, one for a whole norm, and one per element of a bias. Adam-mini
    has only one per head for queries and keys; the difference is left out, as it is at most 0.03% of their momentum.
    """

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of momentum and second moment, without the single number of a norm."""
        size = allocated(tensor.num_elements * tensor.itemsize)
        if len(tensor.shape) > 1:
            return size + allocated(tensor.shape[0] * tensor.itemsize)
        return 2 * size if self._is_bias(tensor) else size

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a norm's second moment, a single number."""
        return BLOCK_BYTES if len(tensor.shape) == 1 and not self._is_bias(tensor) else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Follows the temporaries of Adam-mini's step for one tensor."""
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

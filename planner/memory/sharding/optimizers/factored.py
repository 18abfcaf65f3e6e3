"""Counts states and temporaries of Adafactor."""

from __future__ import annotations

from math import prod

from planner.libraries.allocator import allocated
from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import Factored


class FactoredStates(OptimizerRule[Factored]):
    """Computes fp32 means over the rows and the columns of a matrix, and a full-size fp32 state for a vector.

    Source: transformers/optimization.py, `Adafactor.step`.
    """

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a tensor's means."""
        *outer, last = tensor.shape
        if not outer:
            return allocated(last * FP32)
        return allocated(prod(outer) * FP32) + allocated(prod(outer[:-1]) * last * FP32)

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Follows the assignments of `Adafactor.step` for one tensor; parameter and gradient are cast to fp32."""
        whole = tensor.num_elements * FP32
        below_fp32 = tensor.itemsize < FP32
        names.let("grad", 0)
        names.let("grad", whole if below_fp32 else 0)
        names.let("p_data_fp32", 0)
        names.let("p_data_fp32", whole if below_fp32 else 0)
        names.let("grad**2", whole)
        names.let("update", whole)
        names.let("grad**2", 0)
        names.let("update", whole)
        names.passing(whole)  # -update

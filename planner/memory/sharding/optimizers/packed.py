"""Counts states and temporaries of torchao's 8-bit and 4-bit optimizers."""

from __future__ import annotations

from planner.libraries.allocator import allocated
from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import Packed

AO_BLOCK = 256
"""Elements that share a scale (transformers/trainer_optimizer.py, `_get_torchao_optimizer`)."""
AO_SMALLEST = 4096
"""Elements of the smallest tensor with packed states. Smaller tensors, and those whose elements are no multiple of the
block, keep states in their own dtype (torchao/optim/adam.py, `_new_buffer`)."""


class PackedStates(OptimizerRule[Packed]):
    """Computes packed states: codes, an fp32 scale per block, and with each state a table of the codes' values.

    Sources: torchao/optim/subclass_8bit.py, subclass_4bit.py. The step is compiled, so it allocates what torch's
    inductor leaves unfused. What is counted here is everything that inductor's code for a CPU allocates, an upper bound
    for a GPU.
    """

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a tensor's codes and scales, or of its states in its own dtype."""
        elements, facts = tensor.num_elements, self.facts
        if not self._is_packed(tensor):
            return facts.states * allocated(elements * tensor.itemsize)
        return facts.states * (allocated(elements * facts.bits // 8) + allocated(elements // AO_BLOCK * FP32))

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of the tables of the codes' values, one for each state of a tensor."""
        return self.facts.states * allocated(2**self.facts.bits * FP32) if self._is_packed(tensor) else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Counts each state divided by its scales, in fp32, and for 4 bits its unpacked codes and new int64 codes."""
        if self._is_packed(tensor):
            elements = tensor.num_elements
            scaled = (elements * FP32, elements // AO_BLOCK * FP32)
            names.passing(*self.facts.states * (scaled if self.facts.bits == 8 else (*scaled, elements, elements * 8)))

    def _is_packed(self, tensor: TrainedTensor) -> bool:
        return tensor.num_elements >= AO_SMALLEST and tensor.num_elements % AO_BLOCK == 0
